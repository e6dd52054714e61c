"""Model cards as Markdown for the hub and as HTML for the demo.

Source: Mitchell et al., "Model cards for model reporting", FAT* 2019, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fer_lightning.deploy.parity import Measured, measured_cells, ratio_line
from fer_lightning.evaluation.efficiency import parameters
from fer_lightning.inference.card import DATASET_NAMES
from fer_lightning.inference.classifier import FaceClassifier
from fer_lightning.inference.face_detector import ALIGNED, KEYPOINTS
from fer_lightning.plots.text import markdown_text, percent, range_of_percents
from fer_lightning.training.checkpoints import TrainedNet

_WEB_2013 = (
    "Its training images are faces found on the web in 2013, 48 pixels wide and grey. Age, sex and skin colour were "
    "not labelled, so accuracy by group is unknown. Children, old people and dark-skinned faces are thought to be few: "
    "expect it to be worse for them.",
    "Search words such as 'angry' brought the images together: many are posed, acted or stock photographs.",
)
_LIMITS = {
    "fer2013": (
        "Its labels are noisy. Ten annotators who labelled the same images again (FERPlus) often chose another one; "
        "their consensus is the label of FER2013 for only 62.7 % of the pictures of PublicTest.",
        *_WEB_2013,
    ),
    "ferplus": (
        "Its labels are what most of ten annotators chose; where they disagreed, so will readers of its predictions.",
        *_WEB_2013,
    ),
    "ckplus": (
        "It was trained on posed expressions of about a hundred people in a laboratory: expect less of other data.",
    ),
    "synthetic": ("It was trained on synthetic faces, to try the software: it is not meant for photographs.",),
}
_ANY_LIMITS = (
    "Its training data does not tell age, sex or skin colour in a way that was used here, so accuracy by group is "
    "unknown: expect it to be worse for groups that are rare there.",
)
_TAGS = {".onnx": "onnx", ".pte": "executorch", ".safetensors": "safetensors"}
# Measured on the test split: experiments/audit.
_DISAGREEMENT = {
    "fer2013": "The consensus of ten other annotators is the label of only 62.7 % of these pictures.",
    "ferplus": "Each picture has the votes of ten annotators, who often disagree; the label is what most of them said.",
}


def model_card(
    trained: TrainedNet,
    card: Mapping[str, Any],
    rows: Sequence[Measured],
    faces: str,
    processor: str,
    written: Sequence[Path],
    repository: str | None = None,
) -> str:
    """Model card of an exported network as Markdown with the front matter of the hub.

    Args:
        trained: Trained network, with the record of its run where there is one.
        card: Card of the network, see `card_of`.
        rows: Measurements of the export.
        faces: Description of the faces of the measurements.
        processor: Processor of the measurements.
        written: Exported files; the first one that `Predictor` reads is used in the example.
        repository: Repository of the hub, `user/name`, that they are uploaded to; it is then used in the example.
    """
    environment = Environment(  # nosec B701 # it writes Markdown
        loader=PackageLoader("fer_lightning.deploy", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Names in a record are untrusted: they are escaped as text.
        finalize=lambda value: markdown_text(value) if type(value) is str else value,
    )
    record, protocol = trained.record, trained.description["protocol"]
    splits = record.get("splits", {})
    split = card["measured"].get("split")
    scores = splits.get(split)
    dataset = protocol["dataset"]
    name = DATASET_NAMES.get(dataset, dataset)
    main_file = min(written, key=lambda path: path.suffix == ".pte").name  # one that Predictor reads, if there is any
    return environment.get_template("model_card.md").render(
        title=f"{card['model']} for facial expressions, {name}",
        tags=sorted({_TAGS[path.suffix] for path in written}),
        card=card,
        parameters=parameters(trained.net),
        classes=trained.classes,
        seen=trained.description["preprocessing"],
        protocol=protocol,
        dataset_name=name,
        template=", ".join(f"({x:.4f}, {y:.4f})" for x, y in KEYPOINTS[ALIGNED]),
        main_file=main_file,
        address=f"hf:{repository}" if repository else main_file,
        splits=splits,
        split=split,
        scores=scores,
        worst=_worst(scores),
        faces=faces,
        forms=measured_cells(rows),
        ratio=ratio_line(rows),
        processor=processor,
        calibration={"test": None, "temperature": None, "balanced": None, **record.get("calibration", {})},
        robustness=record.get("robustness"),
        limits=_LIMITS.get(dataset, _ANY_LIMITS),
        command=card["command"],
        hardware=_hardware(record.get("hardware", {})),
        hours=_hours(record.get("timing", {}).get("fit_seconds")),
        commit=record.get("commit"),
        percent=percent,
    )


def _worst(scores: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Class of the lowest recall."""
    if scores is None:
        return None
    known = {name: of["recall"] for name, of in scores["per_class"].items() if of["support"]}
    name = min(known, key=known.__getitem__)
    return {"name": name, "recall": known[name]}


def _hardware(hardware: Mapping[str, Any]) -> str | None:
    if not hardware:
        return None
    if "gpu" in hardware:
        return f"{hardware['gpu']}, {hardware['precision']}"
    threads = f"{hardware['threads']} thread{'s' if hardware['threads'] > 1 else ''}"
    return f"{hardware['processor']}, {threads}, {hardware['precision']}"


def _hours(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


def card_page(name: str, classifier: FaceClassifier, record: Mapping[str, Any]) -> str:
    """Card of a net as HTML, with its name on the page and the record of its training, which may be empty."""
    card, preprocessing = classifier.card, classifier.preprocessing
    protocol, measured = card["protocol"], card["measured"]
    environment = Environment(loader=PackageLoader("fer_lightning.deploy"), autoescape=True, trim_blocks=True)
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


def _recalls(record: Mapping[str, Any], measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the recalls on the test split, the highest first: label, share in percent, text, number of faces."""
    scores = record.get("splits", {}).get(measured.get("split"), {}).get("per_class", {})
    recalls = [
        {
            "label": label,
            "share": 100 * score["recall"],
            "text": percent(score["recall"]),
            "faces": int(score["support"]),
        }
        for label, score in scores.items()
        if score["support"]
    ]
    return sorted(recalls, key=lambda recall: recall["share"], reverse=True)
