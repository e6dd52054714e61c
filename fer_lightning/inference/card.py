"""Card of a deployed network: its description without the folders of the machine that trained it."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_lightning.results.metrics_schema import identity

if TYPE_CHECKING:
    from fer_lightning.training.checkpoints import TrainedNet

log = logging.getLogger(__name__)
_MEASURED = ("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1")
DATASET_NAMES = {
    "fer2013": "FER2013",
    "ferplus": "FERPlus",
    "rafdb": "RAF-DB",
    "affectnet": "AffectNet",
    "ckplus": "CK+",
    "synthetic": "synthetic faces",
}
PLACES = ("root", "cache_dir", "landmark_model", "align_workers", "output_dir", "resume")  # last part of an option


def card_of(trained: TrainedNet, source: str) -> dict[str, Any]:
    """Card of a trained network.

    Args:
        trained: Trained network.
        source: Source of the network, as the user named it.

    Returns:
        `model` (its class), `protocol`, `temperature` (divisor of the logits; 1 where none was fitted), `measured`
        (`split`, `test` of the protocol, and the scores; empty without a record), `command` (that reproduces the
        training; None where unknown), `source` and, where they are known, `training_prior` (share of each class in
        training) and `tau` (see `PriorShift`).
    """
    if source and "calibration" not in trained.record:
        log.warning("%s holds no temperature: its confidences are those of the net, not calibrated.", source)
    shift = {
        "training_prior": trained.description.get("training_prior"),
        "tau": trained.record.get("calibration", {}).get("tau"),
    }
    return {
        "model": type(trained.net).__name__,
        "protocol": trained.description["protocol"],
        "temperature": trained.temperature,
        "measured": _measured(trained.record),
        "command": training_command(trained.record),
        "source": source,
        **{name: value for name, value in shift.items() if value is not None},
    }


def _measured(record: Mapping[str, Any]) -> dict[str, Any]:
    splits = record.get("splits", {})
    if not splits:
        return {}
    split = "test" if "test" in splits else next(iter(splits))
    scores = {name: splits[split][name] for name in _MEASURED if name in splits[split]}
    return {"split": split, "test": record["protocol"]["test"], **scores}


def portable(trained: TrainedNet, record: Mapping[str, Any]) -> TrainedNet:
    """Copy of a network with this record (`metrics.json`); neither names a folder of the machine that trained it."""
    data = {name: value for name, value in trained.description["data"].items() if name not in PLACES}
    public = dict(record)
    if "overrides" in public:
        public["overrides"] = [_without_folders(option) for option in public["overrides"] if not _names_a_place(option)]
    if "variant" in public:
        public["variant"] = identity(public["overrides"])["variant"]
    return replace(trained, description={**trained.description, "data": data}, record=public)


def training_command(record: Mapping[str, Any]) -> str | None:
    """Command that reproduces the training of a record; None where the record does not contain it."""
    if "overrides" not in record:
        return None
    seed = [] if any(option.startswith("seed=") for option in record["overrides"]) else [f"seed={record['seed']}"]
    return shlex.join(["fer", "train", *record["overrides"], *seed])


def _names_a_place(option: str) -> bool:
    name = option.partition("=")[0].lstrip("+~")
    return name.startswith("hydra.") or name.rpartition(".")[2] in PLACES


def _without_folders(option: str) -> str:
    """Option without the folders of absolute paths, also in lists: `init=/home/me/runs/teacher` is `init=teacher`."""
    name, equals, value = option.partition("=")
    inner = value.strip("[]")
    if not any(part.strip().startswith(("/", "~")) for part in inner.split(",")):
        return option
    return name + equals + value.replace(inner, ",".join(Path(part.strip()).name for part in inner.split(",")))
