"""`fer evaluate`: score a checkpoint on any dataset, by class name."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from fer_lightning.commands.finish import ending, score_elsewhere, show_record
from fer_lightning.commands.instantiate import (
    build_each,
    build_trainer,
    check_devices,
    data_for,
    limit_threads,
)
from fer_lightning.data.corruptions import select_corruptions
from fer_lightning.data.samples import SPLITS
from fer_lightning.errors import UserError, printable
from fer_lightning.evaluation.cross_dataset import predict_shared
from fer_lightning.evaluation.efficiency import describe_hardware
from fer_lightning.evaluation.robustness import score_corruptions, summarise_robustness
from fer_lightning.evaluation.scoring import Inference, score, score_splits
from fer_lightning.results.record import RunRecord, describe_commit, describe_software
from fer_lightning.training.checkpoints import load_net

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Evaluates one checkpoint as configured.

    Args:
        cfg: Composed from `conf/evaluate.yaml`.

    Returns:
        The accuracy.
    """
    if cfg.split not in SPLITS:
        raise UserError(f"split={cfg.split} is unknown: use one of {', '.join(SPLITS)}.")
    check_devices(cfg)
    limit_threads(cfg)
    trained = load_net(Path(cfg.checkpoint))
    corruptions = select_corruptions(cfg.corruptions, trained.description["preprocessing"].get("side", "none"))
    datamodule = data_for(cfg, trained)
    loggers = build_each(cfg.get("logger"))
    trainer = build_trainer(cfg, [], loggers)
    inference = Inference(trained.net, cfg.channels_last, cfg.flip)
    shared = predict_shared(trainer, inference, datamodule, cfg.split, trained.classes)
    tables = {cfg.split: shared.table}
    if datamodule.protocol.fingerprint == trained.description["protocol"]["fingerprint"]:
        splits = score_splits(tables, shared.classes, datamodule)
    else:  # which of these images training has seen is not known
        splits = {cfg.split: score(shared.table, shared.classes)}
    metrics = {
        "protocol": replace(datamodule.protocol, classes=shared.classes).to_dict(),
        "trained_under": trained.description["protocol"],
        "checkpoint": printable(cfg.checkpoint),
        "model": type(trained.net).__name__,
        "preprocessing": trained.description["preprocessing"],
        "flip": cfg.flip,
        "left_out": shared.left_out,
        "never_right": list(shared.never_right),
        "splits": splits,
        "elsewhere": score_elsewhere(cfg, trainer, inference, trained, datamodule),
        "versions": describe_software(),
        "commit": describe_commit(),
        "hardware": describe_hardware(trainer.strategy.root_device, trainer.precision),
    }
    robustness = None
    if corruptions:
        robustness = score_corruptions(trainer, inference, datamodule, trained.classes, corruptions, cfg.split)
        metrics["robustness"] = summarise_robustness(robustness)
    record = RunRecord(metrics, shared.table, pd.DataFrame({"epoch": []}), robustness)
    if trainer.is_global_zero:
        record.write(Path(cfg.output_dir))
        with ending(loggers):
            show_record(record, cfg.split, datamodule, Path(cfg.output_dir), loggers)
    return float(splits[cfg.split]["accuracy"])  # type: ignore[arg-type]
