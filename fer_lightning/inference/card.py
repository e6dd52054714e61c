"""The card: what a deployed network says of itself, in a few plain values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fer_lightning.deploy.portable import training_command
from fer_lightning.training.checkpoints import TrainedNet

log = logging.getLogger(__name__)
_MEASURED = ("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1")


def card_of(trained: TrainedNet, source: str) -> dict[str, Any]:
    """Collects the card of a trained network.

    Args:
        trained: The network.
        source: Where it came from, as the user named it.

    Returns:
        `model` (its class), `protocol`, `temperature` (by which logits are divided; 1 where none was fitted),
        `measured` (`split`, `test` as the protocol calls it, and the scores; empty without a record), `command` (that
        trains it again; None where unknown) and `source`.
    """
    if source and "calibration" not in trained.record:
        log.warning("%s holds no temperature: its confidences are those of the net, not calibrated.", source)
    return {
        "model": type(trained.net).__name__,
        "protocol": trained.description["protocol"],
        "temperature": float(trained.record.get("calibration", {}).get("temperature", 1.0)),
        "measured": _measured(trained.record),
        "command": training_command(trained.record),
        "source": source,
    }


def _measured(record: Mapping[str, Any]) -> dict[str, Any]:
    splits = record.get("splits", {})
    if not splits:
        return {}
    split = "test" if "test" in splits else next(iter(splits))
    scores = {name: splits[split][name] for name in _MEASURED if name in splits[split]}
    return {"split": split, "test": record["protocol"]["test"], **scores}
