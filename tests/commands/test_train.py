from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import rich
import torch
from omegaconf import OmegaConf
from pytorch_lightning.utilities.exceptions import SIGTERMException

from fer_lightning.commands.train import open_run
from fer_lightning.errors import UserError
from fer_lightning.evaluation.scoring import score
from fer_lightning.results.metrics_schema import STARTED, read_started
from fer_lightning.results.run_record import RunRecord
from fer_lightning.training.checkpoints import load_net


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def weights_of(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def kill_when_told(start_copy, arguments: list[str], folder: Path, told: str) -> None:
    """Starts `fer train` and kills it, without any warning, as soon as its log tells `told`."""
    code = "from fer_lightning.cli import main; main()"
    process = start_copy(code, "train", *arguments, f"hydra.run.dir={folder}", outputs=[Path(os.devnull)] * 2)
    log = folder / "train.log"
    deadline = time.monotonic() + 300
    while not (log.is_file() and told in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "metrics.json").exists()


# What a run leaves


def test_the_record_is_whole(trained_run):
    names = {path.name for path in trained_run.iterdir()}
    assert {"config.yaml", "metrics.json", "predictions.parquet", "history.csv", "checkpoints", "train.log"} <= names
    assert sorted(path.name for path in (trained_run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    metrics = metrics_of(trained_run)
    assert metrics["protocol"]["counts"] == {"train": 42, "val": 18, "test": 15}
    assert metrics["model"] == "ResNet"
    assert (metrics["seed"], metrics["epochs"]) == (0, 4)
    assert "model=resnet" in metrics["overrides"]
    assert (metrics["study"], metrics["budget"]) == (None, None)
    assert metrics["variant"]["model"] == "resnet" and not {"data", "data.root"} & set(metrics["variant"])
    assert metrics["hardware"]["threads"] == 1
    assert metrics["timing"]["fit_seconds"] >= metrics["timing"]["train_seconds"] > 0
    assert OmegaConf.load(trained_run / "config.yaml").model.widths == [8, 8, 8, 8]


def test_the_history_has_a_row_an_epoch(trained_run):
    history = RunRecord.read(trained_run).history
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["images"].tolist() == [40] * 4  # 42 images are 5 batches of 8, and the rest waits
    assert (history["seconds"] >= history["train_seconds"]).all()
    assert {"lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/auroc", "val/ece"} <= set(history)
    assert not history.isna().any().any()


def test_the_best_epoch_is_chosen_on_validation(trained_run):
    record = RunRecord.read(trained_run)
    values = record.history["val/accuracy"]
    assert record.metrics["best_epoch"] == record.history["epoch"][values.idxmax()]
    assert record.metrics["splits"]["val"]["accuracy"] == pytest.approx(values.max())


def test_predictions_are_those_of_the_files(trained_run, tiny_folder):
    """Every test image once, read and classified here without the code that wrote the record."""
    predictions = RunRecord.read(trained_run).predictions.query("split == 'test'")
    files = sorted((tiny_folder / "test").glob("*/*.png"))
    assert sorted(predictions["id"]) == [file.relative_to(tiny_folder).as_posix() for file in files]
    trained = load_net(trained_run)
    for row in predictions.itertuples():
        assert row.id.split("/")[1] == trained.classes[row.target]
        pixels = cv2.imread(str(tiny_folder / row.id), cv2.IMREAD_GRAYSCALE)
        image = torch.from_numpy((pixels.astype(np.float32) / 255 - 0.5) / 0.25)[None, None]
        with torch.no_grad():
            expected = trained.net(image).softmax(dim=1)[0]
        found = [getattr(row, f"prob_{name}") for name in trained.classes]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_training_that_diverges_is_told_in_a_sentence(tiny, fer, tmp_path, capsys):
    options = ["optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant", "trainer.gradient_clip_val=null"]
    assert fer("train", *tiny, *options, f"hydra.run.dir={tmp_path}") == 2
    told = capsys.readouterr()
    assert "Training diverged in epoch 1" in told.out and "epoch 2/4" not in told.out
    assert "Training diverged in epoch 1 (train/loss " in told.err and "lower optimizer.lr" in told.err
    assert "Traceback" not in told.err
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last.ckpt"]
    # Nor does it train on when it is continued.
    assert fer("train", f"resume={tmp_path}") == 2
    assert "Training diverged in epoch 1" in capsys.readouterr().err


def test_checkpoints_load_without_running_code(trained_run):
    for name in ("best", "last"):
        checkpoint = torch.load(trained_run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["description"]["classes"] == ["happy", "sad", "surprise"]


# Going on after a kill


def test_goes_on_after_a_kill(trained_run, tiny, fer_undrawn, start_copy, tmp_path, assert_same_run):
    folder = tmp_path / "killed"
    kill_when_told(start_copy, tiny, folder, "epoch 2/4")
    names = ("overrides", "study", "budget", "variant")
    assert read_started(folder) == {name: metrics_of(trained_run)[name] for name in names}
    assert fer_undrawn("train", f"resume={folder}") == 0
    assert_same_run(trained_run, folder)
    for name in ("overrides", "variant"):
        assert metrics_of(folder)[name] == metrics_of(trained_run)[name]
    # Epoch 2 was told before it was saved, so the kill may have cost it; epoch 1 is never trained again.
    assert (folder / "train.log").read_text().count("epoch 1/4") == 1


def stop_before_the_record(monkeypatch, fer, arguments: list[str], folder: Path) -> None:
    """As if killed after the last epoch and before the record was written."""

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("fer_lightning.commands.train.score", killed)
        with pytest.raises(Killed):
            fer("train", *arguments, f"hydra.run.dir={folder}")
    assert (folder / "checkpoints" / "last.ckpt").is_file() and not (folder / "metrics.json").exists()


def test_goes_on_after_a_kill_before_the_record(trained_run, tiny, fer_undrawn, tmp_path, monkeypatch, assert_same_run):
    folder = tmp_path / "late"
    stop_before_the_record(monkeypatch, fer_undrawn, tiny, folder)
    (folder / STARTED).unlink()  # as a run that an earlier version started
    assert fer_undrawn("train", f"resume={folder}") == 0
    assert_same_run(trained_run, folder)
    assert metrics_of(folder)["overrides"] == metrics_of(trained_run)["overrides"]


def test_a_stopped_training_stays_stopped(tiny, fer_undrawn, tmp_path, monkeypatch, assert_same_run):
    # By this rule training ends unless the accuracy falls in each of the four epochs.
    rule = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.mode=min"]
    arguments = [*tiny[:-1], "callbacks=early_stopping", *rule]
    whole, late = tmp_path / "whole", tmp_path / "late"
    assert fer_undrawn("train", *arguments, f"hydra.run.dir={whole}") == 0
    assert metrics_of(whole)["epochs"] < 4
    stop_before_the_record(monkeypatch, fer_undrawn, arguments, late)
    assert fer_undrawn("train", f"resume={late}") == 0
    assert_same_run(whole, late)


def test_a_moved_run_goes_on(trained_run, tiny, fer_undrawn, tmp_path, monkeypatch, assert_same_run):
    stop_before_the_record(monkeypatch, fer_undrawn, tiny, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert fer_undrawn("train", f"resume={tmp_path / 'there'}") == 0
    assert_same_run(trained_run, tmp_path / "there")
    assert not (tmp_path / "here").exists()


def test_the_same_command_in_the_same_folder_goes_on(
    trained_run, tiny, fer_undrawn, tmp_path, monkeypatch, assert_same_run
):
    folder = tmp_path / "requeued"
    stop_before_the_record(monkeypatch, fer_undrawn, tiny, folder)
    assert fer_undrawn("train", *tiny, f"hydra.run.dir={folder}") == 0
    assert_same_run(trained_run, folder)


def test_another_config_in_the_same_folder_is_refused(trained_run, tiny, fer, tmp_path, capsys):
    folder = tmp_path / "taken"
    shutil.copytree(trained_run, folder)
    assert fer("train", *tiny, "seed=1", f"hydra.run.dir={folder}") == 2
    assert f"{folder} contains a run with another config" in capsys.readouterr().err


def test_what_lies_in_a_folder_decides_what_is_done_there(tmp_path):
    cfg, other = (OmegaConf.create({"output_dir": str(tmp_path / "run"), "seed": seed}) for seed in (1, 2))
    overrides = tmp_path / "run" / ".hydra" / "overrides.yaml"
    overrides.parent.mkdir(parents=True)
    for config, seed in ((cfg, 1), (other, 2)):
        overrides.write_text(f"- study=table6\n- init=run{seed}\n")
        assert open_run(config, resumed=False).state == "new"  # nothing was trained there
        started = read_started(tmp_path / "run")
        assert (started["study"], started["budget"], started["variant"]) == ("table6", "pilot", {"init": f"run{seed}"})
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.touch()
    assert open_run(other, resumed=False).state == open_run(cfg, resumed=True).state == "stopped"
    with pytest.raises(UserError, match="contains a run with another config"):
        open_run(cfg, resumed=False)
    (tmp_path / "run" / "metrics.json").touch()
    assert open_run(other, resumed=False).state == "finished"
    assert OmegaConf.load(tmp_path / "run" / "config.yaml") == other


def test_a_finished_run_says_so(trained_run, fer, tmp_path, capsys):
    folder = tmp_path / "finished"
    shutil.copytree(trained_run, folder)
    before = (folder / "metrics.json").stat().st_mtime_ns
    assert fer("train", f"resume={folder}") == 0
    assert "is already finished" in " ".join(capsys.readouterr().out.split())
    assert (folder / "metrics.json").stat().st_mtime_ns == before


def test_a_net_without_errors_has_no_picture_of_them(trained_run, fer, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("figures"))
    table = pd.read_parquet(run / "predictions.parquet")
    table["target"] = table.filter(like="prob_").to_numpy().argmax(axis=1)
    table.to_parquet(run / "predictions.parquet", index=False)
    assert fer("train", f"resume={run}") == 0
    drawn = {path.stem for path in (run / "figures").iterdir()}
    assert "curves" in drawn and "errors" not in drawn


def test_resume_takes_no_other_options(trained_run, fer, capsys):
    for options in (["seed=1"], ["trainer=gpu"], ["-m"]):
        assert fer("train", f"resume={trained_run}", *options) == 2
        assert "omit all other options" in capsys.readouterr().err


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("")])
def test_resume_of_what_is_no_run(make, fer, tmp_path, capsys):
    make(tmp_path / "nothing")
    assert fer("train", f"resume={tmp_path / 'nothing'}") == 2
    assert f"resume={tmp_path / 'nothing'} must be the folder of a run" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(tiny, fer, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("fer_lightning.training.callbacks.History.on_train_epoch_end", interrupt)
    try:
        assert fer("train", *tiny, f"hydra.run.dir={tmp_path / 'run'}") == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "fer train resume=" in capsys.readouterr().err


# Several runs


def test_runs_of_a_multirun_stay_apart(trained_run, tiny, fer_undrawn, tmp_path):
    assert fer_undrawn("train", "-m", *tiny, "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}") == 0
    first, second = sorted(path.parent for path in (tmp_path / "sweep").glob("*/metrics.json"))
    assert [metrics_of(folder)["seed"] for folder in (first, second)] == [0, 1]
    assert [len(RunRecord.read(folder).history) for folder in (first, second)] == [4, 4]
    left, right = weights_of(first, "last"), weights_of(second, "last")
    assert not torch.equal(left["net.classify.weight"], right["net.classify.weight"])
    # The first run is the one that was made alone, to the last bit.
    assert all(torch.equal(value, left[name]) for name, value in weights_of(trained_run, "last").items())


def test_a_run_begins_with_what_it_trains_and_counts_its_epochs(tiny, fer, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(rich.get_console(), "_width", 200)  # that of the log, which may exist already
    options = ["callbacks=[progress]", "logger=csv", "trainer.max_epochs=2", "data.batch_size=1", "corruptions=[blur]"]
    assert fer("train", *tiny, *options, f"hydra.run.dir={tmp_path}") == 0
    printed, metrics = capsys.readouterr().out, metrics_of(tmp_path)
    name = "resnet, data.batch_size=1"
    assert f"net     {name}" in printed and f"(ResNet), {metrics['parameters']:,} parameters, seed 0" in printed
    assert "data    folder, 3 classes: 42 train, 18 val, 15 test" in printed
    assert "device  cpu, 1 thread, 32-true" in printed and f"folder  {tmp_path}" in printed
    assert "time    2 epochs" in printed and "by the first 20 batches; validation is not included" in printed
    first, second = (line for line in printed.splitlines() if "epoch 1/2" in line or "epoch 2/2" in line)
    assert first.rstrip().endswith("left") and "left" not in second
    title = f"{name}, data.image_size=32, model.widths=[8,8,8,8] on folder, seed 0"
    assert title in " ".join(printed.split())
    blur = f"{metrics['robustness']['accuracy']['blur']:.1%}"
    assert next(line for line in printed.splitlines() if line.startswith("│ blur")).split()[3] == blur


def test_bars_are_shown_in_a_terminal_only_and_disappear(tiny, fer, tmp_path, capsys, monkeypatch):
    options = [*tiny, "callbacks=[progress]", "logger=csv", "trainer.max_epochs=1"]
    assert fer("train", *options, f"hydra.run.dir={tmp_path / 'log'}") == 0
    printed = capsys.readouterr().out
    assert "epoch 1/1" in printed and "epoch 1 of 1" not in printed and "\n\n\n" not in printed
    monkeypatch.setenv("FORCE_COLOR", "1")
    rich.reconfigure()
    assert fer("train", *options, f"hydra.run.dir={tmp_path / 'terminal'}") == 0
    monkeypatch.undo()
    rich.reconfigure()
    _, *bars = capsys.readouterr().out.split("epoch 1 of 1")
    assert bars and "v_num" not in "".join(bars)
    assert "\x1b[1A\x1b[2K" in bars[-1]  # the line is erased


def test_a_quiet_run_prints_one_line(tiny, fer, tmp_path, capsys):
    options = ["show=quiet", "callbacks=[progress]", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}"]
    assert fer("train", *tiny, *options) == 0
    (line,) = filter(None, capsys.readouterr().out.splitlines())
    accuracy = metrics_of(tmp_path)["splits"]["test"]["accuracy"]
    assert line.startswith(f"{tmp_path}: val ") and f"test {100 * accuracy:.1f} % in " in line
    assert "epoch 1/1" in (tmp_path / "train.log").read_text()
    config = (tmp_path / "config.yaml").read_text()
    assert "show:" not in config and "show" not in metrics_of(tmp_path)["variant"]


@pytest.mark.slow
def test_joblib_gives_each_run_one_thread(tiny, tmp_path):
    command = [sys.executable, "-m", "fer_lightning", "train", "-m", "hydra/launcher=joblib", *tiny, "seed=0,1"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command += ["callbacks=[progress]", f"hydra.sweep.dir={tmp_path}"]
    done = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert sorted(line.partition(": val")[0] for line in lines) == ["[1 of 2] resnet seed=0", "[2 of 2] resnet seed=1"]
    assert "━ " not in done.stdout.partition("Test images")[0] and "Epoch" not in done.stdout
    records = [metrics_of(path.parent) for path in sorted(tmp_path.glob("*/metrics.json"))]
    assert [record["seed"] for record in records] == [0, 1]
    assert [record["hardware"]["threads"] for record in records] == [1, 1]


# Several processes


@pytest.fixture(scope="module")
def same_steps(tiny):
    """Options under which two processes with batches of 4 take the very steps of one process with batches of 8.

    Batch normalisation would see other batches, dropout would drop other units, and Adam would blow up rounding errors.
    """
    net = ["num_filters=4", "widths=[8,32]", "depths=[1,1]", "fusion_dim=32", "embed_dim=8", "dropout=0"]
    return [
        *[option for option in tiny if not option.startswith(("model", "trainer=", "data.batch_size"))],
        "model=psysfa_net",
        *[f"model.{option}" for option in [*net, "normalization=none"]],
        "optimizer=sgd",
    ]


@pytest.fixture(scope="module")
def ddp_run(same_steps, fer_process, tmp_path_factory):
    """Folder of a run with two processes on the CPU."""
    folder = tmp_path_factory.mktemp("ddp") / "run"
    done = fer_process("train", *same_steps, "data.batch_size=4", "trainer=ddp_cpu", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2/4") == 1 and not list(folder.glob("train_ddp_process_1.log.*"))
    return folder


def test_two_processes_take_the_steps_of_one_with_the_double_batch(same_steps, ddp_run, fer_undrawn, tmp_path):
    assert fer_undrawn("train", *same_steps, "data.batch_size=8", "trainer=cpu", f"hydra.run.dir={tmp_path}") == 0
    one, two = weights_of(tmp_path, "last"), weights_of(ddp_run, "last")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    columns = [
        "epoch",
        "images",
        "lr",
        *[f"{split}/{name}" for split in ("train", "val") for name in ("loss", "accuracy")],
    ]
    left, right = (RunRecord.read(folder).history[columns] for folder in (tmp_path, ddp_run))
    np.testing.assert_allclose(left, right, rtol=1e-3)


def test_two_processes_report_what_one_would(ddp_run, fer, tmp_path, tiny_folder):
    record = RunRecord.read(ddp_run)
    test = record.predictions.query("split == 'test'").reset_index(drop=True)
    files = sorted(tiny_folder.glob("test/*/*"))
    assert sorted(test["id"]) == [path.relative_to(tiny_folder).as_posix() for path in files]
    assert record.metrics["splits"]["test"] == score(test, load_net(ddp_run).classes)
    best = record.history.set_index("epoch").loc[record.metrics["best_epoch"]]
    for name in ("accuracy", "auroc", "loss", "macro_f1", "ece"):
        assert record.metrics["splits"]["val"][name] == pytest.approx(best[f"val/{name}"], abs=1e-5)

    options = ["trainer=cpu", "trainer.precision=32-true", f"hydra.run.dir={tmp_path}"]
    assert fer("evaluate", f"checkpoint={ddp_run}", *options) == 0
    alone = RunRecord.read(tmp_path)
    assert alone.predictions[["id", "target"]].equals(test[["id", "target"]])
    np.testing.assert_allclose(alone.predictions.filter(like="prob_"), test.filter(like="prob_"), atol=1e-6)
    assert alone.metrics["splits"]["test"]["accuracy"] == record.metrics["splits"]["test"]["accuracy"]


@pytest.mark.slow
def test_two_processes_evaluate_together(ddp_run, fer_process, tmp_path):
    options = ["trainer=ddp_cpu", "trainer.precision=32-true", f"hydra.run.dir={tmp_path}"]
    done = fer_process("evaluate", f"checkpoint={ddp_run}", *options)
    assert done.returncode == 0, done.stderr
    trained = RunRecord.read(ddp_run).predictions.query("split == 'test'").reset_index(drop=True)
    pd.testing.assert_frame_equal(RunRecord.read(tmp_path).predictions, trained)


# Mistakes


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["show=loud"], "show=loud is unknown: use one of auto, quiet, verbose"),
        (["threads=0"], "threads must be from 1 to"),
        (["threads=100000"], "the number of cores; got 100000"),
        (["mixing.mixup_alpha=-1"], "mixing.mixup_alpha must be at least 0; got -1"),
        (["loss.class_weights=some"], "loss.class_weights must be none or inverse; got some"),
        (["loss.label_smoothing=1.5"], "loss.label_smoothing must be at least 0 and below 1; got 1.5"),
        (["scheduler.rise_share=1"], "scheduler.rise_share must be at least 0 and below 1; got 1"),
        (["selection.monitor=val/acc"], "selection.monitor=val/acc is unknown: use one of val/accuracy, "),
        (["selection.monitor=test/accuracy"], "selection.monitor=test/accuracy is unknown"),
        (["selection.monitor=val/loss"], "selection.mode=max would select the worst epoch by val/loss: use min"),
        (["trainer.precision=half"], "half"),
        (["trainer.max_epochs=0"], "No epoch was trained"),
        (["trainer.limit_val_batches=0"], "No epoch was trained and validated"),
        (["trainer.strategy=ddp_spawn"], "trainer.strategy=ddp_spawn leaves no trained state"),
        (["data.batch_size=0"], "data.batch_size"),
        (["data.split=half"], "data.split must be one of"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_a_sentence(options, told, tiny, fer, tmp_path, capsys):
    assert fer("train", *tiny, *options, f"hydra.run.dir={tmp_path}") == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error and len(error.splitlines()) == 1
    assert not (tmp_path / "metrics.json").exists()


def test_parts_that_do_not_fit_are_told_before_anything_is_read_or_written(tiny, fer, tmp_path, capsys):
    tiny = [option for option in tiny if not option.startswith("model")]
    options = ["model=multimodal_fusion", "mixing.mixup_alpha=0.2", f"hydra.run.dir={tmp_path / 'run'}"]
    assert fer("train", *tiny, *options) == 2
    assert "mixing must be off for a network with an auxiliary input" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_data_is_answered_with_the_layouts(tiny, fer, tmp_path, capsys):
    assert fer("train", *tiny, "data.root=/nowhere", f"hydra.run.dir={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert "data.root=/nowhere" in error and "FER_FOLDER_ROOT" in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_gpu_is_told_in_a_sentence(tiny, fer, tmp_path, capsys):
    assert fer("train", *tiny, "trainer=gpu", f"hydra.run.dir={tmp_path}") == 2
    error = capsys.readouterr().err
    assert "gpu" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("options", [["trainer=ddp_cpu"], ["trainer=cpu", "trainer.devices=2"]])
def test_several_processes_in_a_multirun_are_refused(options, tiny, fer, tmp_path, capsys):
    assert fer("train", "-m", *tiny, *options, "seed=0,1", f"hydra.sweep.dir={tmp_path}") == 2
    assert "trainer.devices=2 starts processes" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/metrics.json"))


@pytest.mark.parametrize("stop", [SIGTERMException(), SystemExit(0), SystemExit(1)])
def test_a_run_that_was_told_to_stop_is_no_success(stop, tiny, fer, tmp_path, monkeypatch, capsys):
    def stopped(*arguments: object) -> None:
        raise stop

    monkeypatch.setattr("fer_lightning.commands.train.fit", stopped)
    (tmp_path / "mypkg").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert fer("train", *tiny, f"hydra.run.dir={tmp_path / 'my run'}", "plugins=[mypkg]") == 130
    command = f"fer train 'resume={tmp_path}/my run' 'plugins=[mypkg]'"
    assert capsys.readouterr().err.endswith(
        f"fer train: stopped; this continues from its last finished epoch: {command}\n"
    )


def test_a_stopped_multirun_says_how_to_continue(tiny, fer_undrawn, tmp_path, monkeypatch, capsys):
    def stopped(*arguments: object) -> None:
        raise SIGTERMException

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("fer_lightning.commands.train.fit", stopped)
        assert fer_undrawn("train", "-m", *tiny, "trainer.max_epochs=1", "seed=0,1") == 130
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].partition("runs that are left: ")[2])
    (folder,) = Path("outputs/multirun").iterdir()
    assert words == ["fer", "train", "-m", *tiny, "trainer.max_epochs=1", "seed=0,1", f"hydra.sweep.dir={folder}"]
    assert fer_undrawn(*words[1:]) == 0
    assert len(list(folder.glob("*/metrics.json"))) == 2


@pytest.mark.parametrize(("choice", "epochs"), [("fast", 1), ("overfit", 2), ("profile", 1)])
def test_debug_runs_are_short_and_whole(choice, epochs, tiny, fer_undrawn, tmp_path, capsys):
    options = [option for option in tiny if not option.startswith(("trainer.max_epochs", "logger"))]
    typed = [f"trainer.max_epochs={epochs}"] if choice == "overfit" else []
    assert fer_undrawn("train", *options, *typed, f"debug={choice}", f"hydra.run.dir={tmp_path}") == 0
    record = RunRecord.read(tmp_path)
    assert len(record.history) == epochs and record.metrics["splits"]["test"]["accuracy"] >= 0
    assert f"debug={choice}" in record.metrics["overrides"] and not (tmp_path / "wandb").exists()
    assert ("run_training_epoch" in (tmp_path / "fit-profile.txt").read_text()) if choice == "profile" else True
    assert ("42 of the training rows" in record.metrics["protocol"]["split"]) == (choice == "overfit")


def test_a_job_that_was_queued_again_ends_as_its_launcher_says(tiny, fer, tmp_path, monkeypatch):
    monkeypatch.setattr("fer_lightning.commands.train.fit", lambda *arguments: sys.exit(144))
    assert fer("train", *tiny, f"hydra.run.dir={tmp_path}") == 144


@pytest.mark.slow
def test_data_of_an_odd_name_is_found_again(tiny, tiny_folder, fer, tmp_path, monkeypatch):
    """A name that looks like an interpolation and is no UTF-8, in everything that is done with a run afterwards."""
    monkeypatch.chdir(tmp_path)
    root = Path(os.fsdecode(b"a${b}\\\xff\n"))
    shutil.copytree(tiny_folder, root)
    options = [option for option in tiny if not option.startswith("data.root")]
    assert fer("train", *options, f"data.root={root}", "hydra.run.dir=run") == 0
    assert fer("evaluate", "checkpoint=run", "trainer=cpu", "logger=none", "hydra.run.dir=evaluation") == 0
    accuracies = [metrics_of(Path(name))["splits"]["test"]["accuracy"] for name in ("run", "evaluation")]
    assert accuracies[0] == accuracies[1]
    Path("run/metrics.json").unlink()
    assert fer("train", "resume=run") == 0
    typed = RunRecord.read(Path("run")).metrics["overrides"]
    assert any(option.startswith("data.root=") and r"\xff\n" in option for option in typed)
    assert fer("report", ".", "--to", "report", "--wandb", "disabled") == 0
