from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fer_lightning.commands import export
from fer_lightning.inference.classifier import open_classifier
from fer_lightning.inference.predictor import Predictor
from fer_lightning.training.checkpoints import load_net

FORMATS = "format=[onnx,int8,safetensors]"
FILES = {
    "model.onnx",
    "model_int8.onnx",
    "model.safetensors",
    "model.json",
    "README.md",
    "export.json",
    "predict.py",
}


@pytest.fixture(scope="module")
def exported(fer, trained_run, tmp_path_factory):
    """Folder of the tiny run in all formats."""
    folder = tmp_path_factory.mktemp("exported")
    options = [f"checkpoint={trained_run}", FORMATS, "half=true", f"hydra.run.dir={folder}"]
    assert fer("export", *options) == 0
    return folder


def test_the_files(exported):
    assert {path.name for path in exported.iterdir()} == FILES | {"export.log"}


def test_what_was_measured(exported, trained_run):
    told = json.loads((exported / "export.json").read_text())
    forms = {row["form"]: row for row in told["forms"]}
    assert list(forms) == ["PyTorch, float32", "ONNX, float32", "ONNX, int8", "safetensors, 16 bits"]
    assert told["faces"] == "18 faces of folder, val" and told["calibration"] == "42 faces of folder, train"
    record = json.loads((trained_run / "metrics.json").read_text())
    whole = record["splits"]["val"]
    for form in ("PyTorch, float32", "ONNX, float32"):
        assert forms[form]["scores"]["accuracy"] == pytest.approx(whole["accuracy"])
        assert forms[form]["scores"]["accuracy_low"] == pytest.approx(whole["accuracy_low"])
    assert forms["ONNX, float32"]["difference"] < 1e-3 and forms["ONNX, float32"]["agreement"] == 1
    assert forms["ONNX, int8"]["difference"] > forms["ONNX, float32"]["difference"]
    assert all(row["milliseconds"] > 0 for row in told["forms"])


def test_files_hold_the_prior_and_tau(exported, trained_run):
    run = load_net(trained_run)
    for name in ("model.onnx", "model_int8.onnx", "model.safetensors"):
        card = open_classifier(str(exported / name)).card
        assert card["training_prior"] == run.description["training_prior"]
        assert card["tau"] == run.record["calibration"]["tau"]
    shifted = run.record["calibration"]["balanced"]["balanced_accuracy"]
    assert f"mean over classes **{100 * shifted:.1f} %** (as trained: " in (exported / "README.md").read_text()


def test_tau_of_a_run_of_an_earlier_version_is_fitted(fer, trained_run, tmp_path):
    folder = shutil.copytree(trained_run, tmp_path / "run")
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    fitted = checkpoint["record"]["calibration"]
    checkpoint["record"]["calibration"] = {"temperature": 1.25, "fitted_on": "val"}
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    options = [f"checkpoint={folder}", "format=safetensors", f"hydra.run.dir={tmp_path / 'out'}"]
    assert fer("export", *options) == 0
    calibration = load_net(tmp_path / "out" / "model.safetensors").record["calibration"]
    # The temperature stays. Shares that a version did not store are those of known data sets alone.
    assert calibration == {**fitted, "temperature": 1.25}


def test_the_accuracy_of_int8_is_that_of_the_file(exported, trained_run, tiny_folder):
    """Counted anew, from the images themselves."""
    import cv2

    opened = open_classifier(str(exported / "model_int8.onnx"))
    assert opened.precision == "int8" and opened.backend == "onnxruntime"
    right = []
    for path in (tiny_folder / "val").rglob("*.png"):
        face = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[None, :, :, None]
        right.append(opened.classes[opened.probabilities(face).argmax()] == path.parent.name)
    rows = json.loads((exported / "export.json").read_text())["forms"]
    assert np.mean(right) == pytest.approx(rows[2]["scores"]["accuracy"])


def test_no_place_of_this_machine_travels(exported, tiny_folder):
    for name in FILES:
        content = (exported / name).read_bytes()
        assert str(tiny_folder).encode() not in content and str(tiny_folder.parent).encode() not in content


def test_safetensors_keep_the_record_and_half_of_the_size(exported, trained_run):
    own, back = load_net(trained_run), load_net(exported / "model.safetensors")
    assert back.record["splits"] == own.record["splits"]
    image = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(back.net(image), own.net(image), atol=0.05, rtol=0.05)
    beside = json.loads((exported / "model.json").read_text())
    assert {name: beside[name] for name in back.record} == back.record
    assert beside["export"]["half"] is True


def test_a_file_finds_its_data_where_the_config_looks(fer, exported, trained_run, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_FOLDER_ROOT", str(tiny_folder))
    monkeypatch.setenv("FER_CACHE_DIR", str(tmp_path / "cache"))
    options = ["trainer=cpu", "trainer.enable_progress_bar=false", f"hydra.run.dir={tmp_path / 'out'}"]
    assert fer("evaluate", f"checkpoint={exported / 'model.safetensors'}", *options) == 0
    wanted = json.loads((trained_run / "metrics.json").read_text())
    given = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert given["protocol"] == wanted["protocol"]
    assert given["splits"]["test"]["accuracy"] == pytest.approx(wanted["splits"]["test"]["accuracy"], abs=0.07)
    assert (tmp_path / "cache").is_dir()


def test_the_card(exported, trained_run):
    text = (exported / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    accuracy = json.loads((trained_run / "metrics.json").read_text())["splits"]["test"]["accuracy"]
    assert told["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(accuracy, abs=1e-4)
    assert told["tags"] == ["facial-expression-recognition", "onnx", "safetensors"] and told["license"] == "mit"
    assert f"**{100 * accuracy:.1f} %**" in body and "Expressions are not feelings" in body
    for name in ("happy", "sad", "surprise"):
        assert re.search(rf"^\| {name} \| 5 \| ", body, re.MULTILINE)
    assert "| ONNX, int8 |" in body and "fer train data=folder" in body
    assert "\n\n\n" not in body


def test_data_out_of_reach_is_replaced_by_synthetic_faces(fer, trained_run, tmp_path, capsys):
    import shutil

    shutil.copytree(trained_run / "checkpoints", tmp_path / "run" / "checkpoints")
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["description"]["data"]["root"] = str(tmp_path / "gone")
    torch.save(checkpoint, path)
    options = [f"checkpoint={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'out'}"]
    assert fer("export", *options, "format=safetensors") == 0
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["faces"] == "70 synthetic faces" and told["forms"][1]["scores"] == {}
    assert told["forms"][1]["difference"] == 0
    capsys.readouterr()
    assert fer("export", *options, "format=int8") == 2
    assert "needs training images for its calibration; they cannot be read: " in capsys.readouterr().err


def test_a_file_that_computes_something_else_is_not_written(fer, trained_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "write_forms", _of_another_net(export.write_forms))
    out = tmp_path / "face.onnx"
    options = [f"checkpoint={trained_run}", f"path={out}", f"hydra.run.dir={tmp_path / 'run'}"]
    assert fer("export", *options) == 2
    assert re.search(r"ONNX, float32 differs from PyTorch by \S+ in a logit on 18 faces", capsys.readouterr().err)
    assert not out.exists() and not (tmp_path / "run").exists()


def _of_another_net(write):
    def spoilt(trained, *rest):
        import copy

        other = copy.deepcopy(trained)
        with torch.no_grad():
            next(other.net.parameters()).mul_(1.5)
        return write(other, *rest)

    return spoilt


@pytest.fixture(scope="module")
def program(fer, trained_run, tmp_path_factory):
    """Folder of the tiny run for ExecuTorch."""
    pytest.importorskip("executorch")
    folder = tmp_path_factory.mktemp("executorch")
    assert fer("export", f"checkpoint={trained_run}", "format=executorch", f"hydra.run.dir={folder}") == 0
    return folder


def test_executorch_computes_what_pytorch_does(program):
    record = json.loads((program / "export.json").read_text())
    reference, row = record["forms"]
    assert row["form"] == "ExecuTorch, float32" and 0 < row["difference"] < 1e-4 and row["agreement"] == 1
    assert row["scores"] == reference["scores"] and row["milliseconds"] > 0
    assert record["faces"] == "18 faces of folder, val" and record["versions"]["executorch"]
    card = (program / "README.md").read_text()
    assert "\n- executorch\n" in card and "method `metadata`" in card and "Predictor(" not in card


def test_the_documented_use_of_executorch_gives_the_probabilities_of_the_predictor(
    program, trained_run, tiny_folder, monkeypatch, capsys
):
    """The block of docs/deploy.md."""
    page = Path(__file__).parents[2] / "docs" / "deploy.md"
    _, block = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    monkeypatch.chdir(program)
    picture = next((tiny_folder / "val").rglob("*.png"))
    shutil.copy(picture, "face.png")
    capsys.readouterr()
    exec(compile(block, str(page), "exec"), {})
    [wanted] = Predictor(str(trained_run), detect=False)(picture)
    assert ast.literal_eval(capsys.readouterr().out) == pytest.approx(wanted.probabilities, abs=1e-4)


def test_what_reads_no_program_of_executorch_says_so(fer, program, tmp_path, capsys):
    assert fer("predict", f"checkpoint={program / 'model.pte'}", "source=.", f"hydra.run.dir={tmp_path}") == 2
    assert "model.pte is an ExecuTorch file, which only ExecuTorch's runtime reads" in capsys.readouterr().err
    assert fer("verify", str(program / "model.pte")) == 0
    printed = capsys.readouterr().out
    assert ", as in export.json" in printed and "only ExecuTorch's runtime reads it" in printed


def test_executorch_is_asked_for_before_anything_is_read(fer, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "executorch", None)  # as where it is not installed
    assert fer("export", "checkpoint=fer2013", "format=executorch", f"hydra.run.dir={tmp_path / 'out'}") == 2
    assert "needs ExecuTorch: pip install 'fer_lightning[executorch]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["format=tflite"],
            "format must be one of safetensors, onnx, int8, executorch, a list of these as in format=[onnx,int8], or "
            "page; got 'tflite'",
        ),
        (["format=[]"], "format must be one of safetensors, onnx, int8"),
        (["checkpoint=null"], "checkpoint=... is missing"),
        (["split=all"], "split=all is unknown"),
        (["half=true"], "half=true needs format=safetensors"),
        (["format=[onnx,safetensors]", "path=a.onnx"], "path=... names one file"),
        (["path=a.pt"], "path must end in .onnx for format=onnx; got a.pt"),
        (["format=int8", "data.root=.", "int8.method=magic"], "int8.method=magic is unknown"),
        (["format=int8", "data.root=.", "int8.images=0"], "int8.images must be at least 1; got 0"),
        (["format=[onnx,page]"], "or page; got 'page'"),
        (["format=page", "push=user/name"], "push=... uploads networks, not pages"),
        (["push=nobody"], "push must be the name of a repository, user/name; got nobody"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_mistakes(fer, tmp_path, capsys, options, told):
    assert fer("export", "checkpoint=fer2013", f"hydra.run.dir={tmp_path}", *options) == 2
    assert told in " ".join(capsys.readouterr().err.split())
