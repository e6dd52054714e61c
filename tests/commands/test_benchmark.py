"""Every part of `fer benchmark`; there is no GPU where most of this runs: the CPU stands in for it."""

from __future__ import annotations

import json
import os
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lightning.benchmark import latency, peers, pipeline
from fer_lightning.benchmark.peers import DRIVERS, PEERS
from fer_lightning.training.checkpoints import load_net

# Stands in for every program: waits as long as its argument says, finds a face where the frame is not black.
PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(DRIVERS)!r})
from serving import Timed, serve

def look(frame):
    time.sleep(float(sys.argv[-1]))
    return "happy" if frame.any() else None

stages = lambda frame: dict(detect=1.0, align=0.5, classify=2.0)
serve(lambda threads: Timed("stand-in", "1.0", f"{{threads}} threads", look, stages=stages))
"""


@pytest.fixture
def stand_ins(monkeypatch, tmp_path) -> None:
    """Ours take 20 ms a frame; the peer `fer` takes 80 ms where its Python is named. A busy machine adds some."""
    program = tmp_path / "stand_in.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(pipeline, "_command", lambda source, backend: [sys.executable, str(program), "0.02"])
    monkeypatch.setitem(PEERS, "fer", peers.Peer(str(program), ("0.08",)))


@pytest.fixture
def benchmark(fer, trained_run, tmp_path):
    def run(*options: str) -> int:
        always = [f"checkpoint={trained_run}", "backends=[torch]", "rounds=6", "count=2"]
        return fer("benchmark", *always, *options, f"hydra.run.dir={tmp_path / 'out'}")

    return run


def test_the_record_tells_what_was_measured(stand_ins, benchmark, tmp_path, capsys):
    assert benchmark("peers=[fer,human]", f"peer_python={sys.executable}") == 0
    printed = capsys.readouterr().out
    assert "Left out: human: install it with npm install --prefix peers @vladmandic/face-api@1.7.15" in printed
    table = pd.read_csv(tmp_path / "out" / "benchmark.csv")
    assert table["who"].unique().tolist() == ["ours torch", "fer"] and (table["threads"] == 1).all()
    whole = table[table["stage"] == "whole"].set_index("who")
    assert whole.loc["ours torch", "ratio"] == 1 and 1.5 < whole.loc["fer", "ratio"] < 5
    assert np.allclose(whole["fps"], 1000 / whole["median_ms"], rtol=0.01) and (whole["n"] == 12).all()
    assert (table["label"] == "happy").all() and (table["found"] == 1).all()
    record = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert len(record["results"]) == len(table) and record["net"]["flops"] == 2 * record["net"]["multiply_adds"] > 0
    assert record["left_out"].keys() == {"human"} and record["frames"] == "astronaut"
    assert (tmp_path / "out" / "benchmark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_every_number_of_threads_is_a_comparison(stand_ins, benchmark, tmp_path):
    assert benchmark("threads=[1,2]", "rounds=1") == 0
    table = pd.read_csv(tmp_path / "out" / "benchmark.csv")
    assert table.groupby("threads")["settings"].unique().map(list).to_dict() == {1: ["1 threads"], 2: ["2 threads"]}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"benchmark.png", "benchmark_2_threads.png"}


def test_no_face_in_the_frames_is_one_sentence(stand_ins, benchmark, tmp_path, capsys):
    import cv2

    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((48, 64, 3), np.uint8))
    assert benchmark(f"frames={tmp_path / 'black.png'}", "rounds=1") == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "none was found in 1 of 1" in told[0]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("device=tpu", "device=tpu is unknown: use one of cpu, cuda"),
        ("rounds=0", "rounds must be at least 1; got 0"),
        ("threads=1", "threads must be a list of whole numbers; got 1"),
        ("threads=[999]", "threads must be from 1 to "),
        ("threads=[]", "must have at least one entry"),
        ("peers=[deepface]", "peers=deepface is unknown: use one of fer, face_api"),
        ("backends=[tensorrt]", "backends=tensorrt is unknown: use one of torch, onnxruntime, openvino"),
        ("model=resnet", "model has no effect with part=pipeline: it belongs to part=pipeline device=cuda and part=tr"),
        (
            "part=samplers",
            "checkpoint has no effect with part=samplers: it belongs to part=pipeline and part=pipeline ",
        ),
        ("part=speed", "part=speed is unknown: use one of pipeline, training, throughput, latency, samplers"),
        ("checkpoint=nowhere", "nowhere does not exist"),
        ("checkpoint=net.onnx", "net.onnx is an ONNX file: use backends=[onnxruntime]"),
    ],
)
def test_mistakes_are_one_sentence(benchmark, capsys, tmp_path, monkeypatch, option, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").touch()
    assert benchmark(option) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and told in lines[0]


def test_one_of_ours_that_fails_is_told(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(
        pipeline, "_command", lambda source, backend: [sys.executable, "-c", "raise SystemExit('no model')"]
    )
    assert benchmark() == 2
    assert "ours torch cannot be timed: it ended with status 1: no model" in capsys.readouterr().err


@pytest.mark.slow
def test_our_own_way_from_frame_to_label(fer, tmp_path):
    """The real one: by both backends, with the network that ships."""
    pytest.importorskip("mediapipe")
    assert fer("benchmark", "rounds=2", "count=2", f"hydra.run.dir={tmp_path}") == 0
    table = pd.read_csv(tmp_path / "benchmark.csv")
    assert table["who"].unique().tolist() == ["ours onnxruntime", "ours video", "ours torch"]
    medians = table.pivot(index="who", columns="stage", values="median_ms")
    parts = medians[["detect", "align", "classify"]].sum(axis=1)
    assert (table["label"].nunique(), table["found"].min()) == (1, 1)
    assert np.allclose(parts, medians["whole"], rtol=1)


def test_without_a_gpu_one_sentence_says_so(fer, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    assert fer("benchmark", "device=cuda", "model=hafem", f"hydra.run.dir={tmp_path}") == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "device=cuda needs a GPU, and PyTorch finds none here" in told[0]
    assert not (tmp_path / "benchmark.csv").exists()


@pytest.fixture
def gpu_benchmark(fer, tmp_path, monkeypatch, capsys):
    """Runs it on the CPU; returns what was printed, the table and the record."""
    monkeypatch.setattr(latency, "find_gpu", lambda: torch.device("cpu"))

    def run(*options: str):
        assert fer("benchmark", "device=cuda", "rounds=2", "count=3", *options, f"hydra.run.dir={tmp_path}") == 0
        record = json.loads((tmp_path / "benchmark.json").read_text())
        return capsys.readouterr().out, pd.read_csv(tmp_path / "benchmark.csv"), record

    return run


def test_an_architecture_is_timed_untrained_beside_the_claim(gpu_benchmark):
    printed, table, record = gpu_benchmark("model=resnet", "data.image_size=32", "data.channels=3")
    assert table["precision"].tolist() == ["float32", "float16"] and (table["n"] == 6).all()
    assert np.allclose(table["fps"], 1000 / table["median_ms"], rtol=1e-2)
    assert re.search(r"HAFEM's claim\D+52\b", printed) and "NVIDIA RTX 3090" in printed
    assert record["input"] == [1, 3, 32, 32] and record["net"]["parameters"] > 1e6
    assert record["hardware"]["device"] == "cpu" and len(record["results"]) == 2


def test_a_trained_net_takes_its_own_pictures(gpu_benchmark, trained_run):
    _, _, record = gpu_benchmark(f"checkpoint={trained_run}")
    assert record["input"] == [1, 1, 32, 32]
    weights = sum(value.numel() for value in load_net(trained_run).net.parameters())
    assert record["net"]["parameters"] == weights


def test_a_net_that_is_not_there(fer, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(latency, "find_gpu", lambda: torch.device("cpu"))
    assert fer("benchmark", "device=cuda", "checkpoint=hafen", f"hydra.run.dir={tmp_path}") == 2
    assert "hafen does not exist" in capsys.readouterr().err


def options_of_data_and_net(tiny: list[str]) -> list[str]:
    return [option for option in tiny if option.startswith(("data", "model"))]


def test_every_round_of_training_measures_everything(tiny, fer, tmp_path, capsys):
    options = ["part=training", "training.rounds=2", "training.batches=3", f"hydra.run.dir={tmp_path}"]
    assert fer("benchmark", *options_of_data_and_net(tiny), *options) == 0
    rates = pd.read_csv(tmp_path / "bench.csv", index_col="round")
    assert list(rates) == ["fer train", "plain loop", "net alone", "loader alone"]
    assert len(rates) == 2 and (rates > 0).all(axis=None)
    ratio = (rates["fer train"] / rates["plain loop"]).median()
    told = re.search(r"train : plain loop\D+([\d.]+) x", capsys.readouterr().out)
    assert told and float(told[1]) == pytest.approx(ratio, abs=0.01)
    assert {path.name for path in tmp_path.glob("*.csv")} == {"bench.csv"}
    assert fer("bench", *options_of_data_and_net(tiny), "part=training", "batches=6", f"hydra.run.dir={tmp_path}") == 2
    assert "training.batches must be at most 5, the batches of an epoch; got 6" in capsys.readouterr().err


def test_throughput_of_a_folder_and_a_video(fer, trained_run, tmp_path, capsys):
    pytest.importorskip("mediapipe", exc_type=ImportError)
    options = ["throughput.pictures=4", "throughput.frames=6", "throughput.rounds=2", f"hydra.run.dir={tmp_path}"]
    assert fer("benchmark", "part=throughput", f"checkpoint={trained_run}", "backends=[torch]", *options) == 0
    times = pd.read_csv(tmp_path / "throughput.csv")
    faces = {"folder of 4 pictures": 4, "video of 6 frames": 6}
    assert list(times["source"].unique()) == list(faces) and (times["faces"] == times["source"].map(faces)).all()
    assert set(times["who"]) == {"torch, one by one", "torch, batches of 64"} and len(times) == 8
    assert (times[["seconds", "cpu_seconds"]] > 0).all(axis=None)
    rates = (times["faces"] / times["seconds"]).groupby([times["source"], times["who"]]).median()
    printed = [float(number) for number in re.findall(r"\d+\.\d\b", capsys.readouterr().out)]
    assert rates["video of 6 frames", "torch, batches of 64"] == pytest.approx(printed[-2], rel=0.01)


def test_latency_of_hafem_with_and_without_attention(fer, tmp_path, capsys):
    overrides = ("model=hafem_lite", "model.backbone=lcnet_035", "model.stage=1", "model.pretrained=none")
    tiny = f"latency.nets.hafem_lite_48px={json.dumps(overrides)}"
    options = ["part=latency", "~latency.nets.hafem_224px", tiny, "latency.rounds=3", f"hydra.run.dir={tmp_path}"]
    assert fer("benchmark", *options) == 0
    times = pd.read_csv(tmp_path / "latency.csv", index_col="round")
    whole, bare = "hafem_lite_48px", "hafem_lite_48px without attention"
    assert list(times) == [whole, bare, f"{whole} onnxruntime", f"{whole} onnxruntime without attention"]
    assert len(times) == 3 and (times > 0).all(axis=None)
    told = re.search(r"hafem_lite_48px : without attention\D+([\d.]+) x", capsys.readouterr().out)
    assert told and float(told[1]) == pytest.approx((times[whole] / times[bare]).median(), abs=0.001)
    assert {path.name for path in tmp_path.glob("*.csv")} == {"latency.csv"}


def test_samplers_are_ranked_and_a_stopped_comparison_goes_on(fer, tmp_path, capsys):
    options = ["samplers.names=[random,gp]", "samplers.problems=[sphere_4,tuning]", "samplers.budgets=[6]"]
    options += ["samplers.workers=1", f"output_dir={tmp_path}", f"hydra.run.dir={tmp_path}/hydra"]
    assert fer("benchmark", "part=samplers", "samplers.seeds=1", *options) == 0
    first = pd.read_csv(tmp_path / "benchmark.csv")
    capsys.readouterr()
    assert fer("benchmark", "part=samplers", "samplers.seeds=2", *options) == 0
    results = pd.read_csv(tmp_path / "benchmark.csv")
    assert len(results) == 2 * len(first) == 8
    pd.testing.assert_frame_equal(results[:4], first)
    best = pd.read_csv(tmp_path / "ranks.csv").iloc[0]
    told = next(line for line in capsys.readouterr().out.splitlines() if best["sampler"] in line)
    assert f"{best['mean_rank']:.1f}" in told
    assert len(pd.read_csv(tmp_path / "regrets.csv")) == 2 and (tmp_path / "ranks.png").is_file()
    assert not list(tmp_path.glob("critical_difference_*"))  # of two samplers there is none


def test_samplers_that_are_not_installed_are_left_out(fer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fer_lightning.benchmark.samplers.find_spec", lambda package: None)
    options = ["samplers.problems=[sphere_4,tuning]", "samplers.budgets=[6]", "samplers.seeds=1", "samplers.workers=1"]
    options += [f"output_dir={tmp_path}", f"hydra.run.dir={tmp_path}/hydra"]
    assert fer("benchmark", "part=samplers", "samplers.names=[random,boa,smac,tpe]", *options) == 0
    assert "Left out: smac needs smac: pip install 'fer_lightning[smac]'." in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "benchmark.csv")["sampler"]) == {"random", "boa", "tpe"}
    assert (tmp_path / "critical_difference_6.png").is_file()
    assert fer("benchmark", "part=samplers", "samplers.names=[smac]", *options) == 2
    assert "No study is left: samplers.names needs a sampler that is installed." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["part=training", "rounds=3"], "rounds has no effect with part=training: use training.rounds"),
        (["part=training", "trainer=cpu", "frames=me.jpg"], "frames has no effect with part=training: it belongs to p"),
        (
            ["device=cuda", "threads=[1]"],
            "threads has no effect with part=pipeline device=cuda: it belongs to part=pip",
        ),
        (["part=samplers", "seed=3"], "seed has no effect with part=samplers"),
        (["part=samplers", "samplers.names=[mboa]"], "samplers.names=mboa is unknown: use one of mboa lit"),
    ],
)
def test_options_without_effect_are_refused(fer, tmp_path, monkeypatch, capsys, options, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.jpg").touch()
    assert fer("benchmark", *options) == 2
    assert told in capsys.readouterr().err


def test_its_former_name_measures_the_same_with_its_former_options(fer, tmp_path, capsys):
    options = ["search.samplers=[random]", "search.problems=[sphere_4]", "search.budgets=[6]", "search.seeds=1"]
    options += ["search.workers=1", "+search.most.random=9"]
    assert fer("bench", "part=search", *options, f"output_dir={tmp_path}", f"hydra.run.dir={tmp_path}/hydra") == 0
    assert capsys.readouterr().err.strip() == "fer bench is called fer benchmark now."
    assert len(pd.read_csv(tmp_path / "benchmark.csv")) == 1


def test_its_former_name_without_a_part_lists_the_parts(fer, tmp_path, capsys):
    assert fer("bench", f"hydra.run.dir={tmp_path}") == 0
    listed = capsys.readouterr().out
    assert all(f"fer benchmark part={name}" in listed for name in ("pipeline", "training", "throughput", "latency"))
    assert "twenty minutes" in listed and not list(tmp_path.glob("*.csv"))
