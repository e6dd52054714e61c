"""A trained network without what only the machine of its training knows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_lightning.training.checkpoints import TrainedNet

PLACES = ("root", "cache_dir", "landmark_model", "align_workers", "output_dir", "resume")  # last part of an option


def portable(trained: TrainedNet, record: Mapping[str, Any]) -> TrainedNet:
    """Makes a network fit to travel: no folder of the machine that trained it is named in what goes with it.

    Args:
        trained: The network.
        record: Content of the `metrics.json` of its run; it becomes the record of the result.
    """
    data = {name: value for name, value in trained.description["data"].items() if name not in PLACES}
    told = dict(record)
    if "overrides" in told:
        told["overrides"] = [_without_folders(option) for option in told["overrides"] if not _names_a_place(option)]
    return replace(trained, description={**trained.description, "data": data}, record=told)


def training_command(record: Mapping[str, Any]) -> str | None:
    """What to type to train the network of a record again; None where the record does not say."""
    if "overrides" not in record:
        return None
    seed = [] if any(option.startswith("seed=") for option in record["overrides"]) else [f"seed={record['seed']}"]
    return shlex.join(["fer", "train", *record["overrides"], *seed])


def _names_a_place(option: str) -> bool:
    name = option.partition("=")[0].lstrip("+~")
    return name.startswith("hydra.") or name.rpartition(".")[2] in PLACES


def _without_folders(option: str) -> str:
    """Keeps of `init=/home/me/runs/teacher` what others can make sense of, `init=teacher`; so too in lists."""
    name, equals, value = option.partition("=")
    inner = value.strip("[]")
    if not any(part.strip().startswith(("/", "~")) for part in inner.split(",")):
        return option
    return name + equals + value.replace(inner, ",".join(Path(part.strip()).name for part in inner.split(",")))
