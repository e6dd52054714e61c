from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from fer_lightning.inference.card import card_of
from fer_lightning.deploy.parity import Measured
from fer_lightning.deploy.model_card import model_card
from fer_lightning.training.checkpoints import TrainedNet, load_net

ROW = Measured("ONNX, float32", 6.3, 1e-6, 1.0, {}, 2.5)


def write(trained: TrainedNet, name: str = "model.onnx") -> str:
    return model_card(trained, card_of(trained, "here"), [ROW], "70 drawn faces", "a processor", [Path(name)])


@pytest.fixture(scope="module")
def shipped():
    return load_net(Path("fer2013"))


def test_numbers_are_those_of_the_record(shipped):
    text = write(shipped)
    scores = shipped.record["splits"]["test"]
    assert f"**{100 * scores['accuracy']:.1f} %**, 95 % interval {100 * scores['accuracy_low']:.1f} %" in text
    for name, of in scores["per_class"].items():
        assert f"| {name} | {of['support']} | {100 * of['precision']:.1f} % | {100 * of['recall']:.1f} % |" in text
    hardest = min(scores["per_class"].values(), key=lambda of: of["recall"])["recall"]
    assert f"(found in {100 * hardest:.1f} % of the cases)" in text
    assert f"temperature {shipped.record['calibration']['temperature']:.3f}" in text
    assert "Children, old people and dark-skinned faces" in text and "not feelings" in text
    named = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["name"]
    assert named == f"{type(shipped.net).__name__} for facial expressions, FER2013"


def test_a_net_without_a_record_claims_nothing(shipped):
    bare = TrainedNet(shipped.net, shipped.classes, 1, shipped.description)
    text = write(bare, "model.safetensors")
    assert "no accuracy of it" in text and "It is often wrong" not in text and "No temperature was fitted" in text
    front = yaml.safe_load(text.split("---\n")[1])
    assert "model-index" not in front and front["tags"] == ["facial-expression-recognition", "safetensors"]
    assert "In the ONNX file" not in text


def test_robustness_where_it_was_measured(shipped):
    assert "Spoilt pictures" not in write(shipped)
    measured = {"clean": 0.7, "accuracy": {"blur": 0.512, "mean": 0.512}, "relative": {}}
    record = {**shipped.record, "robustness": measured}
    text = write(TrainedNet(shipped.net, shipped.classes, 1, shipped.description, record))
    assert "clean 70.0 %." in text and "| blur | 51.2 % |" in text


@pytest.mark.parametrize("dataset", ["ferplus", "rafdb", "synthetic", "mine"])
def test_every_data_set_has_its_limits(shipped, dataset):
    description = json.loads(json.dumps(shipped.description))
    description["protocol"]["dataset"] = dataset
    text = write(TrainedNet(shipped.net, shipped.classes, 1, description, shipped.record))
    limits = re.search(r"## What it cannot know\n\n(.*?)\n\n", text, re.DOTALL)
    assert limits and len(re.findall(r"^- ", limits[1], re.MULTILINE)) >= 4


def test_names_of_a_record_are_text(shipped):
    description = json.loads(json.dumps(shipped.description))
    description["protocol"] |= {"dataset": 'x"\n- <b>: y', "release": "<script>alert(1)</script>", "test": "a: b"}
    text = write(TrainedNet(shipped.net, shipped.classes, 1, description, shipped.record))
    assert "<script" not in text and "<b>" not in text.split("---\n", 2)[2]
    dataset = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"][0]["dataset"]
    assert dataset["type"] == 'x"\n- <b>: y' and dataset["split"] == "a: b"


def test_headings_stand_alone(shipped):
    lines = write(shipped).split("---\n", 2)[2].splitlines()
    for number, line in enumerate(lines):
        if line.startswith("## "):
            assert lines[number - 1] == lines[number + 1] == "", line
