from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.overrides import PATH_LISTS, PATHS, PATHS_OF_GROUPS, in_folder_of_resumed_run, last_run, prepare


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def received(*arguments: str) -> object:
    """The value that the code gets for the last of some arguments."""
    value = OverridesParser.create().parse_override(prepare(arguments)[-1]).value()
    return OmegaConf.create({"value": value}).value


def make_run(folder: str, changed: int, *files: str) -> None:
    for name in ("config.yaml", *files):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, (changed, changed))


# Paths


@pytest.mark.parametrize(
    "value", ["2024_01_05", "1e5", "true", "007", ".5", "+1", "a,b", "[a]", "{a:1}", "glob(x", "été", "a=b", "it's"]
)
def test_a_path_that_does_not_exist_is_taken_as_typed(value):
    assert received(f"data.root={value}") == value
    assert received(f"hydra.run.dir={value}") == value


@pytest.mark.parametrize(
    "value", ["null", "last", "${oc.env:HOME}", "'quoted'", "glob(*)", "~", " ", "$\\{x}", "\\${x}"]
)
def test_a_path_that_exists_is_taken_as_typed(value):
    Path(value).mkdir()
    assert received(f"checkpoint={value}") == (str(Path.cwd() / "~") if value == "~" else value)
    assert received("-m", f"checkpoint={value}") == (str(Path.cwd() / "~") if value == "~" else value)


def test_bytes_that_are_no_utf8_arrive():
    name = os.fsdecode(b"f\xfcr.png")
    assert received(f"source={name}") == name


def test_what_experts_write_keeps_its_meaning(monkeypatch):
    monkeypatch.setenv("ROOT", "/é")
    assert received("data.root=null") is None
    assert received("data.root=${oc.env:ROOT}/faces") == "/é/faces"
    assert received("data.root='a,b'") == received('data.root="a,b"') == "a,b"
    assert received("data.root=~/faces") == str(Path("~/faces").expanduser())
    assert prepare(["-m", "data.root=a=1,1e5"])[1] == "data.root='a=1','1e5'"
    assert prepare(["data.root=/data/fer2013", "optimizer.lr=1e-3", "--cfg", "job"]) == [
        "data.root=/data/fer2013",
        "optimizer.lr=1e-3",
        "--cfg",
        "job",
    ]


def test_lists_of_paths():
    assert received("model.checkpoints=[2024_01_05,a=b, été,'c,d']") == ["2024_01_05", "a=b", "été", "c,d"]
    assert received("model.checkpoints=[]") == []
    assert received("model.checkpoints=1e5") == "1e5"


@pytest.mark.parametrize(
    "option", ["data.root", "resume", "checkpoint", "source", "hydra.run.dir", "model.checkpoints"]
)
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_path_is_refused(option, value):
    with pytest.raises(UserError, match=f"^{option} must be a path; got an empty value"):
        prepare([f"{option}={value}"])


def test_output_folders_cannot_hold_what_hydra_replaces():
    Path("a${b").mkdir()
    with pytest.raises(UserError, match=r"hydra\.run\.dir=.* must not contain"):
        prepare(["hydra.run.dir=a${b"])


def test_the_names_of_paths_are_those_of_the_configs():
    text = "\n".join(path.read_text() for path in conf_dir().rglob("*.yaml"))
    own = PATHS | PATHS_OF_GROUPS | PATH_LISTS
    assert {name for name in own if f"{name}:" not in text} <= {"subdir"} | {"dir"}


# Debugging


def test_debug_stands_for_options_that_typed_ones_replace():
    options = ["model=resnet", "debug=fast"]
    two_batches = "trainer.limit_train_batches=2"
    assert prepare(options) == ["trainer.max_epochs=1", two_batches, "logger=none", *options]
    typed = [*options, "trainer.max_epochs=3", "logger=csv"]
    assert prepare(typed) == [two_batches, *typed]
    assert prepare(["debug=null"]) == ["debug=null"]
    with pytest.raises(UserError, match="debug=quick is unknown: use one of fast, overfit, profile"):
        prepare(["debug=quick"])


# Runs


def test_a_resumed_run_stays_in_its_folder():
    make_run("épo=1, 'x'", 0)
    prepared = in_folder_of_resumed_run(prepare(["resume=épo=1, 'x'"]))
    folder = OverridesParser.create().parse_override(prepared[1]).value()
    assert folder == "épo=1, 'x'" and prepared[2] == "hydra.output_subdir=null"
    with pytest.raises(UserError, match="resume=gone must be the folder of a run"):
        in_folder_of_resumed_run(prepare(["resume=gone"]))


def test_last_is_the_newest_run_that_fits():
    with pytest.raises(UserError, match=r"init=last needs a finished run in outputs/"):
        prepare(["init=last"])
    make_run("outputs/finished", 10, "checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.json")
    make_run("outputs/study/stopped", 20, "checkpoints/last.ckpt")
    make_run("outputs/failed_start", 30)
    make_run("outputs/finished/wandb/run/files", 40, "metrics.json")
    make_run("outputs/evaluate/today", 50, "metrics.json")
    Path("outputs/evaluate/today/config.yaml").unlink()
    assert received("checkpoint=last") == received("init=last") == "outputs/finished"
    assert received("resume=last") == last_run("resume", finished=False) == "outputs/study/stopped"
    assert received("source=last") == "last"
