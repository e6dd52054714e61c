"""`make train DATASET=...` on a small tree of each data set, in its official layout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fer_lightning.results.run_record import RunRecord

ROOT = Path(__file__).parents[1]
QUICK = (
    "model.widths=[8,8,8,8] data.image_size=32 data.batch_size=8 data.val_fraction=0.34 trainer=cpu "
    "trainer.max_epochs=1 logger=none callbacks=[]"
)
CLASSES = {"fer2013": 7, "ferplus": 8, "rafdb": 7, "affectnet": 7, "ckplus": 7, "folder": 3}

pytestmark = pytest.mark.skipif(
    not Path(sys.prefix, "bin", "fer").is_file(), reason="make calls the fer of a virtual environment"
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`make(*words, **variables)` in an empty folder, with the present environment instead of a new one."""

    def run(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = ["make", "-f", str(ROOT / "Makefile"), "-o", "setup", f"VENV={sys.prefix}", *words]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": paths, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


def check(done: subprocess.CompletedProcess[str], folder: Path, dataset: str) -> None:
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "outputs" / f"resnet_{dataset}").iterdir()
    protocol = RunRecord.read(run).metrics["protocol"]
    assert protocol["dataset"] == dataset and len(protocol["classes"]) == CLASSES[dataset]
    assert f"Run record: outputs/resnet_{dataset}/{run.name}" in done.stdout


def test_data_at_its_place(make, trees, tmp_path):
    (tmp_path / "data").symlink_to(trees)
    check(make("train", "DATASET=rafdb", "MODEL=resnet", f"ARGS={QUICK}"), tmp_path, "rafdb")


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [name for name in CLASSES if name != "rafdb"])
def test_every_data_set_at_its_place(make, trees, tmp_path, dataset):
    (tmp_path / "data").symlink_to(trees)
    check(make("train", f"DATASET={dataset}", "MODEL=resnet", f"ARGS={QUICK}"), tmp_path, dataset)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", CLASSES)
def test_every_data_set_by_its_variable(make, trees, tmp_path, dataset):
    place = {f"FER_{dataset.upper()}_ROOT": str(trees / dataset)}
    check(make("train", f"DATASET={dataset}", "MODEL=resnet", f"ARGS={QUICK}", env=place), tmp_path, dataset)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", CLASSES)
def test_every_data_set_by_its_option(make, trees, tmp_path, dataset):
    options = f"data.root={trees / dataset} {QUICK}"
    check(make("train", f"DATASET={dataset}", "MODEL=resnet", f"ARGS={options}"), tmp_path, dataset)


@pytest.mark.parametrize(
    "dataset", [name if name in ("rafdb", "folder") else pytest.param(name, marks=pytest.mark.slow) for name in CLASSES]
)
def test_without_data_the_answer_comes_at_once(make, tmp_path, dataset):
    spent: list[float] = []
    while not spent or (spent[-1] >= 2 and len(spent) < 3):
        used = os.times()
        done = make("train", f"DATASET={dataset}", "MODEL=hafem_lite")
        # Of this child's processor: the machine may be busy, which costs some of it too.
        spent.append(sum(os.times()[2:4]) - sum(used[2:4]))
    assert done.returncode == 2 and min(spent) < 2
    assert f"was found at data.root=data/{dataset}: nothing is there." in done.stderr
    assert f"export FER_{dataset.upper()}_ROOT=" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()
