from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace

from fer_lightning.deploy.demo.card_page import card_page

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
