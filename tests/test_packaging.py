"""The wheel must hold all that the commands need: a checkout hides what was forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_every_config_and_the_plugin_folder(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"fer_lightning/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert configs
    assert configs <= carried
    assert any(name.startswith("hydra_plugins/") for name in carried)
    assert "hydra_plugins/__init__.py" not in carried  # it would hide every other Hydra plugin


def test_the_wheel_carries_what_fer_report_reads(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    claims = {ROOT / "experiments" / "credible.csv", *(ROOT / "experiments").glob("*/published.csv")}
    templates = set((ROOT / "fer_lightning" / "studies" / "templates").iterdir())
    assert len(claims) == 3 and templates
    assert {f"fer_lightning/{path.relative_to(ROOT).as_posix()}" for path in claims} <= carried
    assert {path.relative_to(ROOT).as_posix() for path in templates} <= carried


def test_the_wheel_carries_trained_networks(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "fer_lightning"
    weights = set((package / "weights").iterdir())
    assert {path.name for path in weights} >= {"fer2013.safetensors", "fer2013.json", "ferplus.safetensors"}
    assert {path.relative_to(ROOT).as_posix() for path in weights} <= carried
    assert {f"fer_lightning/deploy/templates/{name}" for name in ("model_card.md", "predict.py.txt")} <= carried


def test_commands_compose_from_the_unpacked_wheel(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "fer_lightning", "train", "--cfg", "job"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "_target_: fer_lightning.models.psysfa_net.PsySFANet" in done.stdout
