"""Valence and arousal from the annotation to the record, on a tiny tree in AffectNet's layout."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from fer_lightning import ExpressionClassifier, Predictor
from fer_lightning.data.affectnet import AffectNet
from fer_lightning.deploy.onnx import export_onnx, onnx_metadata
from fer_lightning.errors import UserError
from fer_lightning.inference.classifier import open_classifier
from fer_lightning.inference.predictions import PredictionFiles
from fer_lightning.models import ResNet, add_affect_head, classes_and_affect
from fer_lightning.results.run_record import RunRecord
from fer_lightning.training.checkpoints import load_net, save_net, start_from
from fer_lightning.training.description import describe
from fer_lightning.training.mixup import Mixing

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
SCORES = ("ccc_valence", "ccc_arousal", "rmse_valence", "rmse_arousal")
SMALL = {"image_size": 32, "channels": 1, "batch_size": 16, "affect": True}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Images whose brightness rises downwards with valence and to the right with arousal; every tenth has neither."""
    root = tmp_path_factory.mktemp("affectnet")
    lists = root / "Manually_Annotated_file_lists"
    lists.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    for part, count in {"training": 160, "validation": 60}.items():
        lines = [HEADER]
        for number in range(count):
            valence, arousal = rng.uniform(-1, 1, 2)
            image = 128 + 60 * (valence * y + arousal * x) + rng.normal(0, 15, x.shape)
            path = f"{number % 3}/{part}{number}.png"
            (root / "Manually_Annotated_Images" / path).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / "Manually_Annotated_Images" / path), image.clip(0, 255).astype(np.uint8))
            affect = "-2,-2" if number % 10 == 9 else f"{valence:.4f},{arousal:.4f}"
            lines.append(f"{path},0,0,32,32,1;2,{number % 7},{affect}")
        (lists / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def options(faces, tmp_path_factory):
    return [
        "data=affectnet", f"data.root={faces}", f"data.cache_dir={tmp_path_factory.mktemp('cache')}",
        *(f"data.{name}={value}" for name, value in SMALL.items()), "augment=none", "model=resnet",
        "model.widths=[8,8,8,8]", "optimizer.lr=0.01", "trainer=cpu", "trainer.precision=32-true",
        "trainer.max_epochs=6", "selection.monitor=val/ccc_valence", "logger=none", "callbacks=[]",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(fer, options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert fer("train", *options, f"hydra.run.dir={folder}") == 0
    return folder


def test_a_training_learns_valence_and_arousal(run):
    record = RunRecord.read(run)
    for split in ("val", "test"):
        scores = record.metrics["splits"][split]
        assert set(SCORES) <= scores.keys()
    assert scores["ccc_valence"] > 0.6 and scores["ccc_arousal"] > 0.6
    assert scores["rmse_valence"] < 0.45  # of no information, 0.58
    assert {f"val/{name}" for name in SCORES} <= set(record.history)
    table = record.predictions.query("split == 'test'")
    known = table["target_valence"].notna()
    assert known.sum() == 54 and len(table) == 60
    x, y = table.loc[known, "valence"], table.loc[known, "target_valence"]
    assert scores["ccc_valence"] == pytest.approx(
        2 * x.cov(y) / (x.var() + y.var() + (x.mean() - y.mean()) ** 2), abs=1e-5
    )


def test_the_stored_network_predicts_both(run, faces, make_data, tmp_path):
    trained = load_net(run)
    table = RunRecord.read(run).predictions.query("split == 'test'")
    data = make_data(AffectNet, faces, **SMALL, val_fraction=0.1)
    data.setup()
    image = torch.cat([batch[0] for batch in data.eval_dataloader("test")])
    with torch.no_grad():
        _, affect = classes_and_affect(trained.net, image)
    np.testing.assert_allclose(affect, table[["valence", "arousal"]], atol=1e-4)
    save_net(trained, tmp_path / "net.safetensors", half=False)
    again = load_net(tmp_path / "net.safetensors").net
    with torch.no_grad():
        torch.testing.assert_close(classes_and_affect(again, image)[1], affect)


def test_prediction_gives_both(run, faces, tmp_path):
    table = RunRecord.read(run).predictions.query("split == 'test'").set_index("id")
    images = table.index[:5].tolist()
    paths = [faces / "Manually_Annotated_Images" / image for image in images]
    with Predictor(run, detect=False) as predictor:
        results = predictor(paths)
        frame = results.to_frame()
        np.testing.assert_allclose(frame[["valence", "arousal"]], table.loc[images, ["valence", "arousal"]], atol=1e-3)
        assert (
            results[0][0].valence == frame["valence"][0] and results[0].to_dicts()[0]["arousal"] == frame["arousal"][0]
        )
        crops = np.stack([result[0].face for result in results])
        wanted = predictor.classifier.classify(crops)
        np.testing.assert_array_equal(predictor.classifier.probabilities(crops), wanted[:, :7])
        files = PredictionFiles(tmp_path, predictor.classifier.card, predictor.classes, predictor.classifier.has_affect)
        for result in results:
            files.add(result)
        files.close(complete=True)
    assert pd.read_csv(tmp_path / "predictions.csv")["valence"].tolist() == pytest.approx(frame["valence"].tolist())
    assert json.loads((tmp_path / "predictions.json").read_text())["faces"][4]["arousal"] == frame["arousal"][4]
    trained = load_net(run)
    export_onnx(trained.net, onnx_metadata(trained, "run"), tmp_path / "net.onnx")
    by_onnx = open_classifier(str(tmp_path / "net.onnx"))
    assert by_onnx.has_affect
    np.testing.assert_allclose(by_onnx.classify(crops), wanted, atol=1e-5)
    mirrored = open_classifier(str(run), tta="mirror", groups="valence3").classify(crops)
    plain = open_classifier(str(run))
    both = (plain.classify(crops) + plain.classify(crops[:, :, ::-1])) / 2
    np.testing.assert_allclose(mirrored[:, 3:], both[:, 7:], atol=1e-6)


def test_evaluate_repeats_the_scores(fer, run, faces, tmp_path, capsys):
    options = ["trainer=cpu", "trainer.precision=32-true", f"hydra.run.dir={tmp_path / 'evaluation'}"]
    assert fer("evaluate", f"checkpoint={run}", *options) == 0
    assert "Valence and arousal" in capsys.readouterr().out
    again, trained = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path / "evaluation", run))
    assert again["splits"]["test"] == trained["splits"]["test"]


def test_another_network_starts_from_its_weights_with_or_without_the_second_output(run):
    plain, both = (ResNet(num_classes=7, widths=(8, 8, 8, 8)) for _ in range(2))
    add_affect_head(both)
    trained = load_net(run).net.state_dict()
    assert start_from(plain, run, 7) == []
    assert all(value.equal(trained[name]) for name, value in plain.state_dict().items())
    assert start_from(both, run, 7) == []
    assert all(value.equal(trained[name]) for name, value in both.state_dict().items())


def test_what_cannot_be_trained_is_refused(faces, make_data):
    data = make_data(AffectNet, faces, **SMALL)
    data.setup()

    def refused(net, message, **arguments):
        classifier = ExpressionClassifier(net, **arguments)
        classifier._trainer = type("Trainer", (), {"datamodule": data})
        with pytest.raises(UserError, match=message):
            classifier.setup("fit")

    net = ResNet(num_classes=7, widths=(8, 8, 8, 8))
    refused(net, "needs a network with a second output: call add_affect_head")
    add_affect_head(net)
    refused(net, "mixing must be off with data.affect=true", mixing=Mixing(0.2, 0, 1, 7))
    with pytest.raises(UserError, match="affect_weight must be at least 0; got -1"):
        ExpressionClassifier(net, affect_weight=-1)
    assert describe(net, data)["model"]["affect"] is True
