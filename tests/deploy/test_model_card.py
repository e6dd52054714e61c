from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from fer_lightning.deploy.model_card import card_page, model_card
from fer_lightning.deploy.parity import Measured
from fer_lightning.inference.card import card_of
from fer_lightning.training.checkpoints import TrainedNet, load_net
from fer_lightning.training.safetensors_weights import WEIGHTS, shipped_nets

ROW = Measured("ONNX, float32", 6.3, 1e-6, 1.0, {}, 2.5)
PREPROCESSING = {"image_size": 72, "channels": 1, "mean": [0.5], "std": [0.25], "align": True, "side": "none"}
PROTOCOL = {
    "dataset": "fer2013",
    "release": "fer2013.csv",
    "label_rule": "single label",
    "split": "official",
    "counts": {"train": 25837, "val": 2872, "test": 3589},
}
CARD = {
    "model": "WeightedVoting",
    "protocol": PROTOCOL,
    "measured": {"split": "test", "test": "PublicTest", "n": 3589, "accuracy": 0.71234}
    | {"accuracy_low": 0.6972, "accuracy_high": 0.7269},
    "command": "fer train experiment=<b>&",
}
RECORD = {
    "parameters": 4000000,
    "splits": {
        "test": {
            "per_class": {
                "disgust": {"recall": 0.1, "support": 56},
                "happy": {"recall": 0.9, "support": 895},
                "absent": {"recall": 0.0, "support": 0},
            }
        }
    },
}


def write(trained: TrainedNet, name: str = "model.onnx") -> str:
    return model_card(trained, card_of(trained, "here"), [ROW], "70 synthetic faces", "a processor", [Path(name)])


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


def test_the_balanced_prior_is_reported_where_it_was_measured(shipped):
    assert "prior=" not in write(shipped)  # a record of an earlier version
    balanced = {"accuracy": 0.6921, "balanced_accuracy": 0.6851, "macro_f1": 0.6648}
    calibration = {**shipped.record["calibration"], "tau": 0.78, "balanced": balanced}
    text = write(replace(shipped, record={**shipped.record, "calibration": calibration}))
    as_trained = shipped.record["splits"]["test"]["balanced_accuracy"]
    assert (
        'With `prior="balanced"` (all classes equally likely; tau 0.78, fitted on validation): mean over classes '
        f"**68.5 %** (as trained: {100 * as_trained:.1f} %), accuracy 69.2 %, macro F1 66.5 %." in text
    )


def test_a_net_without_a_record_claims_nothing(shipped):
    bare = TrainedNet(shipped.net, shipped.classes, 1, shipped.description)
    text = write(bare, "model.safetensors")
    assert (
        "this card has no accuracy" in text and "It is often wrong" not in text and "No temperature was fitted" in text
    )
    front = yaml.safe_load(text.split("---\n")[1])
    assert "model-index" not in front and front["tags"] == ["facial-expression-recognition", "safetensors"]
    assert "In the ONNX file" not in text


def test_how_a_face_is_cut(shipped):
    text = write(shipped)
    assert "(0.3502, 0.4044), (0.6498, 0.4044), (0.5000, 0.5834), (0.5000, 0.7249), as shares" in text
    assert "Grey is 0.299 R + 0.587 G + 0.114 B." in text and "`predict.py` beside this card" in text
    assert "predict.py" not in write(shipped, "model.safetensors")


def test_robustness_where_it_was_measured(shipped):
    assert "Corrupted images" not in write(shipped)
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


class Text(HTMLParser):
    """The words of a page, between whose tags there is a space; refuses tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def told(card=CARD, record=RECORD) -> str:
    classifier = SimpleNamespace(classes=("happy", "disgust", "absent"), preprocessing=PREPROCESSING, card=card)
    return Text(card_page("<my> net", classifier, record)).text


def test_it_tells_what_was_measured_on_what():
    text = told()
    assert "71.2 % of 3,589 test faces" in text and "95 % interval 69.7 % to 72.7 %" in text
    assert "25,837 faces of FER2013 (fer2013.csv)" in text and "official" in text
    assert (
        "WeightedVoting , 4,000,000 weights" in text.replace("Voting,", "Voting ,") and "72 × 72 pixels in grey" in text
    )


def test_names_and_commands_are_text():
    assert "<my> net" in told() and "fer train experiment=<b>&" in told()


def test_expressions_are_ranked_and_the_worst_is_pointed_out():
    text = told()
    assert text.index("happy 90.0 %") < text.index("disgust 10.0 %") and "absent 0" not in text
    assert "recognises 10.0 % of the faces labelled disgust, of which the test has 56" in text


def test_it_says_what_cannot_be_known():
    for words in ("not feelings", "Not for decisions about people", "light skin", "62.7 % of these pictures"):
        assert words in told()


def test_a_net_without_a_record():
    protocol = {**PROTOCOL, "dataset": "my_faces"}
    text = told({**CARD, "protocol": protocol, "measured": {}, "command": None}, {})
    assert "Measured accuracy unknown" in text and "faces of my_faces" in text and "62.7 %" not in text
    assert "Trained by unknown" in text


@pytest.mark.parametrize("name", shipped_nets())
def test_the_cards_of_the_networks_that_ship_are_those_of_their_records(name):
    file = WEIGHTS / f"{name}.safetensors"
    trained, export = load_net(file), json.loads(file.with_suffix(".json").read_text())["export"]
    rows = [Measured(**form) for form in export["forms"]]
    card = card_of(trained, export["checkpoint"])
    written = model_card(trained, card, rows, export["faces"], export["hardware"]["processor"], [file])
    assert (Path(__file__).parents[2] / "experiments" / "weights" / f"card_{name}.md").read_text() == written
