"""The data sets of `elsewhere`, on which `fer train` and `fer evaluate` score a network as well."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
from hydra.utils import get_class
from omegaconf import DictConfig

from fer_lightning.commands.instantiate import build
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.training.checkpoints import TrainedNet
from fer_lightning.training.inference import Inference
from fer_lightning.evaluation.cross_dataset import score_other_data

log = logging.getLogger(__name__)


def score_elsewhere(
    cfg: DictConfig, trainer: pl.Trainer, inference: Inference, trained: TrainedNet, datamodule: ExpressionDataModule
) -> dict[str, Any]:
    """Scores a network on the test splits of other data sets, in its own preprocessing.

    Args:
        cfg: Its `elsewhere` holds configs of data sets by name.
        trainer: Runs the predictions.
        inference: The network.
        trained: The same network with what it was trained on.
        datamodule: The data that was scored already, which `elsewhere` may name again.

    Returns:
        What `score_other_data` tells, by name. A data set that is not here or cannot be compared has `missing`, which
        says why, instead.
    """
    own = datamodule if datamodule.dataset_name == trained.description["protocol"]["dataset"] else None
    scores: dict[str, Any] = {}
    for name, node in cfg.get("elsewhere", {}).items():  # runs that an earlier version started have none
        if get_class(node._target_) is type(datamodule):
            log.info("elsewhere.%s is the data that was scored already.", name)
            continue
        try:
            other: ExpressionDataModule = build(node, **trained.description["preprocessing"])
            other.setup()
            scores[name] = score_other_data(trainer, inference, other, trained.classes, own)
        except UserError as error:
            told = str(error).replace("data.root", f"elsewhere.{name}.root")
            log.warning("elsewhere.%s is passed over: %s", name, told)
            scores[name] = {"missing": told}
    return scores
