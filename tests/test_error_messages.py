from __future__ import annotations

import os
import re
from pathlib import Path

import joblib
import pytest

from fer_lightning.error_messages import FolderBefore, explain


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "data=rafdb"], "export FER_RAFDB_ROOT="),
        (["train", "optimizer=sgd", "optimizer.momentum=-1"], "optimizer: Invalid momentum"),
        pytest.param(["train", "seed=null"], "seed must be a whole number", marks=pytest.mark.slow),
        pytest.param(["train", "hydra.job.chdir=true"], "hydra.job.chdir must be false", marks=pytest.mark.slow),
        pytest.param(["predict"], "source=... is missing", marks=pytest.mark.slow),
        pytest.param(["train", "-m", "seed=0,1", "data=rafdb"], "export FER_RAFDB_ROOT=", marks=pytest.mark.slow),
    ],
)
def test_a_failed_start_leaves_nothing(arguments, said, fer, capsys):
    assert fer(*arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())


@pytest.mark.slow
def test_folders_that_were_there_stay(fer):
    (Path("mine") / "empty").mkdir(parents=True)
    (Path("mine") / "notes.txt").write_text("keep")
    (Path("mine") / "train.log").write_text("keep")
    assert fer("train", "data=rafdb", "hydra.run.dir=mine/empty") == 2
    assert fer("train", "data=rafdb", "hydra.run.dir=mine/empty/a/b") == 2
    assert fer("train", "data=rafdb", "hydra.run.dir=mine") == 2
    assert not list(Path("mine/empty").iterdir())
    assert Path("mine/notes.txt").read_text() == "keep" and Path("mine/train.log").is_file()


@pytest.mark.parametrize(
    "command", ["models", *(pytest.param(name, marks=pytest.mark.slow) for name in ("train", "predict", "evaluate"))]
)
def test_an_output_folder_that_cannot_be_made_is_a_sentence(command, fer, capsys):
    Path("outputs").touch()
    assert fer(command) == 2
    error = capsys.readouterr().err
    assert re.search(
        rf"fer {command}: .*outputs.* cannot be written: a part of its path is a file.*hydra\.run\.dir", error
    )
    assert Path("outputs").is_file()


@pytest.mark.parametrize(
    ("file", "entry", "message"),
    [
        (
            "experiment/mine",
            "override /hydra/sweeper: mboa",
            "'/hydra/sweeper: mboa' in the defaults list of a config is called '/hydra/sweeper: optuna' now",
        ),
        (
            "experiment/mine",
            "override /rival: vit",
            "'/rival' in the defaults list of experiment/mine.yaml is called '/baseline' now",
        ),
        (
            "experiment/mine",
            "rival: vit",
            "'/rival: vit' in the defaults list of experiment/mine.yaml is called '/baseline: vit' now",
        ),
        (
            "study/mine",
            "base",
            "'/study: base' in the defaults list of study/mine.yaml is called '/study: shared/grid' now",
        ),
        ("data/mine", "base", "'/data: base' in the defaults list of data/mine.yaml is called '/data: folder' now"),
        (
            "experiment/mine",
            "/gone: vit",
            "The defaults list of experiment/mine.yaml names gone/vit, which does not exist",
        ),
        ("study/mine", "gone", "The defaults list of study/mine.yaml names study/gone, which does not exist"),
        ("experiment/mine", "override /model: vti", "Unknown choice model=vti: did you mean vit?"),
        ("experiment/mine", "override /modle: vit", "Unknown option 'modle': did you mean model?"),
    ],
)
def test_a_config_of_the_user_with_an_unknown_entry_is_a_sentence(file, entry, message, fer, capsys):
    path = Path("conf", f"{file}.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\ndefaults:\n  - {entry}\n")
    assert fer("train", "--config-dir", "conf", file.replace("/", "=")) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("fer train: ") and "search path" not in error


def test_the_present_name_of_an_entry_is_accepted(fer, capsys):
    path = Path("conf/experiment/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\ndefaults:\n  - override /hydra/sweeper: optuna\n")
    options = ["--config-dir", "conf", "experiment=mine", "--cfg", "hydra", "--package", "hydra.runtime.choices"]
    assert fer("train", *options) == 0
    printed = capsys.readouterr().out
    assert "hydra/sweeper: optuna" in printed


def test_killed_jobs_are_a_sentence(monkeypatch):
    monkeypatch.setattr(FolderBefore, "folder", None)
    with pytest.raises(RuntimeError) as raised:
        joblib.Parallel(n_jobs=2)(joblib.delayed(os._exit)(1) for _ in range(2))
    message = explain(raised.value, "train", ["-m", "name=Two words"])
    assert message and message.startswith("the launcher failed: A worker process managed by the executor")
    assert message.endswith(": fer train -m 'name=Two words'") and "\n" not in message
    assert explain(RuntimeError("one of ours"), "train", []) is None


def test_a_missing_cluster_is_a_sentence(monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError) as raised:
        submitit.SlurmExecutor("jobs")
    message = explain(raised.value, "train", [])
    assert message and message.startswith('the launcher failed: Could not detect "srun"')
