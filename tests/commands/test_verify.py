from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from fer_lightning.commands import verify
from fer_lightning.training.safetensors_weights import WEIGHTS, read_safetensors, write_safetensors

FILES = ("model.safetensors", "model.onnx", "model_int8.onnx")


@pytest.fixture(scope="module")
def exported(fer, trained_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    options = ["format=[safetensors,onnx,int8]", "half=true", f"hydra.run.dir={folder}"]
    assert fer("export", f"checkpoint={trained_run}", *options) == 0
    return folder


@pytest.fixture
def files(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "files")


def outcomes(capsys):
    lines = capsys.readouterr().out.splitlines()
    return [line.split(maxsplit=1) for line in lines if line.startswith("  ")]


def test_what_export_writes(fer, files, capsys):
    assert fer("verify", *(files / name for name in FILES)) == 0
    results = outcomes(capsys)
    assert [outcome for outcome, _ in results] == ["ok"] * 9
    for number, name in enumerate(FILES):
        hashed, opened, tested = (sentence for _, sentence in results[3 * number : 3 * number + 3])
        digest = hashlib.sha256((files / name).read_bytes()).hexdigest()
        assert hashed.startswith(f"SHA-256 {digest}, as in export.json")
        assert opened == "opens: ResNet, 3 classes, 32 x 32 pixels"
        assert tested.startswith("self-test: ") and "no probability differs by more than" in tested


def test_the_picture_is_a_synthetic_face_and_always_the_same(exported):
    tests = [read_safetensors(exported / "model.safetensors").self_test]
    for name in FILES[1:]:
        properties = {entry.key: entry.value for entry in onnx.load(exported / name).metadata_props}
        tests.append(json.loads(properties["self_test"]))
    assert len({test["picture"] for test in tests}) == 1
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(tests[0]["picture"]))))
    assert pixels.shape == (32, 32) and pixels.std() > 10
    probabilities = np.array([test["probabilities"] for test in tests])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(probabilities, axis=0).max() > 0  # of each file, whose weights are rounded in another way


def test_a_changed_weight(fer, files, capsys):
    path = files / "model.safetensors"
    stored = read_safetensors(path)
    name = next(name for name, value in stored.weights.items() if value.ndim == 4)
    write_safetensors(replace(stored, weights={**stored.weights, name: -stored.weights[name]}), path, half=False)
    assert fer("verify", path) == 1
    (hashed, sentence), opened, (tested, difference) = outcomes(capsys)
    assert (hashed, opened[0], tested) == ("FAILED", "ok", "FAILED")
    assert "is not that of export.json" in sentence and "a probability differs by" in difference


def test_a_damaged_file(fer, files, capsys):
    path = files / "model.onnx"
    path.write_bytes(path.read_bytes()[:5000])
    assert fer("verify", path) == 1
    results = outcomes(capsys)
    assert [outcome for outcome, _ in results] == ["FAILED", "FAILED"] and "is broken" in results[1][1]


def png(size):
    content = BytesIO()
    Image.new("L", size).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize(
    "test",
    [
        {},
        [],
        {"picture": "", "probabilities": [0.2, 0.3, 0.5]},
        {"picture": "?", "probabilities": [0.2, 0.3, 0.5]},
        {"picture": png((8, 8)), "probabilities": [0.2, 0.3, 0.5]},
        {"picture": png((9000, 9000)), "probabilities": [0.2, 0.3, 0.5]},
        {"picture": png((32, 32)), "probabilities": [1.0]},
        {"picture": png((32, 32)), "probabilities": [0.2, 0.3, 10**400]},
        {"picture": png((32, 32)), "probabilities": "abc"},
        {"picture": png((32, 32)), "probabilities": [0.2, 0.3, float("nan")]},
    ],
)
def test_a_self_test_of_unknown_origin(files, test):
    path = files / "model.safetensors"
    write_safetensors(replace(read_safetensors(path), self_test=test), path, half=False)
    outcome, sentence = list(verify.checks(path))[-1]
    assert outcome == "FAILED" and sentence.startswith(("the self-test in the file is damaged", "self-test: "))


def test_files_of_earlier_versions_and_without_a_record(fer, files, capsys):
    path = files / "model.safetensors"
    stored = read_safetensors(path)
    write_safetensors(replace(stored, self_test=None), path, half=False)
    for record in ("export.json", "model.json"):
        (files / record).unlink()
    assert fer("verify", path) == 0
    (hashed, sentence), opened, (tested, reason) = outcomes(capsys)
    assert (hashed, opened[0], tested) == ("note", "ok", "note")
    assert "nothing to compare it with" in sentence and reason.startswith("the file has no self-test")


def test_what_ships(fer, capsys):
    assert fer("verify") == 0
    results = outcomes(capsys)
    assert len(results) == 12 and not any(outcome == "FAILED" for outcome, _ in results)
    assert sum("as in SHA256SUMS" in sentence for _, sentence in results) == 4


def test_the_sums_are_those_of_what_ships():
    """After an export: cd fer_lightning/weights && sha256sum *.onnx *.safetensors *.tflite > SHA256SUMS."""
    paths = [path for path in WEIGHTS.iterdir() if path.suffix in (".onnx", ".safetensors", ".tflite")]
    lines = {f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in paths}
    assert set(verify.SUMS.read_text().splitlines()) == lines


def test_what_does_not_exist(fer, capsys):
    assert fer("verify", "nobody") == 2
    assert "fer verify: NET=nobody does not exist" in capsys.readouterr().err


def test_without_pytorch(tmp_path):
    program = "import sys; sys.modules['torch'] = None; from fer_lightning.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(verify.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, "verify", "ferplus"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "not opened: this needs PyTorch" in done.stdout and "opens: HAFEM, 8 classes, 64 x 64" in done.stdout
