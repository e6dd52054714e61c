"""There is no GPU where most of this runs: the CPU stands in for it."""

from __future__ import annotations

import json
import os
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lightning.benchmark import peers, pipeline
from fer_lightning.benchmark.peers import DRIVERS
from fer_lightning.commands import benchmark as benchmark_gpu
from fer_lightning.commands.benchmark import PEERS
from fer_lightning.training.checkpoints import load_net

# Stands in for every contestant: waits as long as its argument says, finds a face where the frame is not black.
CONTESTANT = f"""
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
    """Ours take 2 ms a frame; the peer `fer` takes 8 ms where its Python is named."""
    program = tmp_path / "stand_in.py"
    program.write_text(CONTESTANT)
    monkeypatch.setattr(pipeline, "_command", lambda source, backend: [sys.executable, str(program), "0.002"])
    monkeypatch.setitem(PEERS, "fer", peers.Peer(str(program), ("0.008",)))


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
def test_every_number_of_threads_is_a_contest(stand_ins, benchmark, tmp_path):
    assert benchmark("threads=[1,2]", "rounds=1") == 0
    table = pd.read_csv(tmp_path / "out" / "benchmark.csv")
    assert table.groupby("threads")["settings"].unique().map(list).to_dict() == {1: ["1 threads"], 2: ["2 threads"]}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"benchmark.png", "benchmark_2_threads.png"}


def test_no_face_in_the_frames_is_one_sentence(stand_ins, benchmark, tmp_path, capsys):
    import cv2

    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((48, 64, 3), np.uint8))
    assert benchmark(f"frames={tmp_path / 'black.png'}", "rounds=1") == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "1 of 1 show no face" in told[0]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("device=tpu", "device=tpu is unknown: use one of cpu, cuda"),
        ("rounds=0", "rounds must be at least 1; got 0"),
        ("threads=1", "threads must be a list of whole numbers; got 1"),
        ("threads=[999]", "threads has 999, which is out of range"),
        ("threads=[]", "need one entry at least"),
        ("peers=[deepface]", "peers has deepface, which is unknown: use any of fer, face_api"),
        ("backends=[tensorrt]", "backends has tensorrt, which is unknown: use any of torch, onnxruntime"),
        ("model=resnet", "model=... is an architecture without weights: add device=cuda"),
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
    assert table["who"].unique().tolist() == ["ours torch", "ours onnxruntime"]
    medians = table.pivot(index="who", columns="stage", values="median_ms")
    parts = medians[["detect", "align", "classify"]].sum(axis=1)
    assert (table["label"].nunique(), table["found"].min()) == (1, 1)
    assert np.allclose(parts, medians["whole"], rtol=1)


def test_without_a_gpu_one_sentence_says_so(fer, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    assert fer("benchmark", "device=cuda", "model=hafem", f"hydra.run.dir={tmp_path}") == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "device=cuda: PyTorch finds no GPU here" in told[0]
    assert not (tmp_path / "benchmark.csv").exists()


@pytest.fixture
def gpu_benchmark(fer, tmp_path, monkeypatch, capsys):
    """Runs it on the CPU; returns what was printed, the table and the record."""
    monkeypatch.setattr(benchmark_gpu, "find_gpu", lambda: torch.device("cpu"))

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
    monkeypatch.setattr(benchmark_gpu, "find_gpu", lambda: torch.device("cpu"))
    assert fer("benchmark", "device=cuda", "checkpoint=hafen", f"hydra.run.dir={tmp_path}") == 2
    assert "hafen does not exist" in capsys.readouterr().err
