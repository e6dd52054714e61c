"""The card of a net and what it cannot know, for people who try it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader

from fer_lightning.inference.classifier import FaceClassifier
from fer_lightning.deploy.dataset_names import DATASET_NAMES
from fer_lightning.plots.text import percent, range_of_percents

# Measured on the test split: experiments/audit.
_DISAGREEMENT = {
    "fer2013": "The consensus of ten other annotators is the label of only 62.7 % of these pictures.",
    "ferplus": "Each picture has the votes of ten annotators, who often disagree; the label is what most of them said.",
}


@dataclass(frozen=True)
class Recall:
    """How many of the test faces of a class were recognised.

    Attributes:
        label: The class.
        share: Of its faces, in percent.
        text: The same as text.
        faces: How many faces it has.
    """

    label: str
    share: float
    text: str
    faces: int


def card_page(name: str, classifier: FaceClassifier, record: Mapping[str, Any]) -> str:
    """The card of a net as HTML.

    Args:
        name: What the page calls it.
        classifier: The net.
        record: The record of its training; empty where none came with it.
    """
    card, preprocessing = classifier.card, classifier.preprocessing
    protocol, measured = card["protocol"], card["measured"]
    environment = Environment(loader=PackageLoader("fer_lightning.deploy.demo"), autoescape=True, trim_blocks=True)
    return environment.get_template("card.html").render(
        name=name,
        card=card,
        classes=classifier.classes,
        dataset=DATASET_NAMES.get(protocol["dataset"], protocol["dataset"]),
        protocol=protocol,
        measured=measured,
        accuracy=percent(measured["accuracy"]) if measured else None,
        interval=range_of_percents(measured["accuracy_low"], measured["accuracy_high"]) if measured else None,
        recalls=_recalls(record, measured),
        parameters=record.get("parameters"),
        size=preprocessing["image_size"],
        colour="grey" if preprocessing["channels"] == 1 else "colour",
        disagreement=_DISAGREEMENT.get(protocol["dataset"]),
    )


def _recalls(record: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Recall]:
    """One a class, the best recognised first."""
    scores = record.get("splits", {}).get(measured.get("split"), {}).get("per_class", {})
    found = [
        Recall(label, 100 * score["recall"], percent(score["recall"]), int(score["support"]))
        for label, score in scores.items()
        if score["support"]
    ]
    return sorted(found, key=lambda recall: recall.share, reverse=True)
