"""`fer train`: compose, train, select, test once, leave a run record."""

from __future__ import annotations

import logging
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from rich.console import Console

from fer_lightning.composition import (
    build_classifier,
    build_datamodule,
    build_each,
    build_net,
    build_trainer,
    limit_threads,
    plain,
)
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.training.checkpoint import load_net
from fer_lightning.training.history import History
from fer_lightning.training.inference import Inference
from fer_lightning.training.record import (
    RunRecord,
    describe_commit,
    describe_hardware,
    describe_software,
    write_atomically,
)
from fer_lightning.training.scoring import predict_split, score
from fer_lightning.training.seeding import SeedEveryBatch

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Trains one classifier as configured.

    Args:
        cfg: Composed from `conf/train.yaml`.

    Returns:
        The value of `selection.monitor` at the selected epoch, for sweepers.
    """
    folder = Path(cfg.output_dir)
    if cfg.resume is not None:
        cfg = _config_of(folder)
    _refuse_ddp_in_multirun(cfg)
    limit_threads(cfg)
    if (folder / "metrics.json").is_file():
        log.warning("%s is finished already; nothing to do.", folder)
        return _selected_value(RunRecord.read(folder), cfg.selection.monitor)
    datamodule = build_datamodule(cfg)
    loggers = build_each(cfg.get("logger"))
    failed = True
    try:
        record = _train(cfg, folder, datamodule, loggers)
        failed = False
    finally:
        _close(loggers, failed)
    return _selected_value(record, cfg.selection.monitor)


def _config_of(folder: Path) -> DictConfig:
    """The config that the run in `folder` was started with, to be continued there."""
    if len(HydraConfig.get().overrides.task) > 1:
        raise UserError("resume=... continues a run exactly as it was configured: leave the other overrides away.")
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume={folder} is not the folder of a run: config.yaml is missing there.")
    cfg = OmegaConf.load(folder / "config.yaml")
    assert isinstance(cfg, DictConfig)
    cfg.output_dir = str(folder)
    return cfg


def _refuse_ddp_in_multirun(cfg: DictConfig) -> None:
    strategy = str(cfg.trainer.get("strategy"))
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN and strategy.startswith("ddp"):
        if "spawn" not in strategy and "fork" not in strategy:
            raise UserError(
                f"trainer.strategy={strategy} starts its processes by repeating the command line, which in a multirun would "
                "repeat the whole sweep: use trainer=ddp_spawn, or start the runs one by one."
            )


def _train(cfg: DictConfig, folder: Path, datamodule: ExpressionDataModule, loggers: list[Logger]) -> RunRecord:
    software = {"versions": describe_software(), "commit": describe_commit()}
    text = OmegaConf.to_yaml(cfg, resolve=True)
    write_atomically(folder / "config.yaml", lambda path: path.write_text(text))
    classifier = build_classifier(cfg, build_net(cfg, len(datamodule.label_set)), datamodule)
    history = History()
    best = ModelCheckpoint(
        dirpath=folder / "checkpoints",
        filename="best",
        monitor=cfg.selection.monitor,
        mode=cfg.selection.mode,
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks = [SeedEveryBatch(cfg.seed), history, *build_each(cfg.get("callbacks")), best]
    trainer = build_trainer(cfg, callbacks, loggers)
    for logger in loggers:
        logger.log_hyperparams(plain(cfg))
    last = folder / "checkpoints" / "last.ckpt"
    started = perf_counter()
    trainer.fit(classifier, datamodule=datamodule, ckpt_path=last if last.is_file() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    seconds = perf_counter() - started
    return _test_once(cfg, folder, trainer, datamodule, history, seconds, software)


def _test_once(
    cfg: DictConfig,
    folder: Path,
    trainer: pl.Trainer,
    datamodule: ExpressionDataModule,
    history: History,
    seconds: float,
    software: dict[str, Any],
) -> RunRecord:
    """Scores the selected epoch on validation and test, and writes the record with its figures."""
    selected = load_net(folder / "checkpoints" / "best.ckpt")
    classes = selected.classes
    inference = Inference(selected.net, cfg.channels_last, flip=False)
    tables = {split: predict_split(trainer, inference, datamodule, split, classes) for split in ("val", "test")}
    rows = pd.DataFrame(history.rows)
    values = rows[cfg.selection.monitor]
    best_epoch = int(rows["epoch"].iloc[values.idxmax() if cfg.selection.mode == "max" else values.idxmin()])
    train_seconds = float(rows["train_seconds"].sum())
    metrics = {
        "protocol": datamodule.protocol.to_dict(),
        "model": type(selected.net).__name__,
        "parameters": sum(parameter.numel() for parameter in selected.net.parameters()),
        "seed": cfg.seed,
        "overrides": list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [],
        "selection": {"monitor": cfg.selection.monitor, "mode": cfg.selection.mode},
        "best_epoch": best_epoch,
        "epochs": len(rows),
        "bad_samples": len(datamodule.bad),
        "splits": {split: score(table, classes) for split, table in tables.items()},
        "timing": {
            "fit_seconds": seconds,
            "train_seconds": train_seconds,
            "train_images_per_second": float(rows["images"].sum()) / train_seconds,
        },
        **software,
        "hardware": describe_hardware(trainer.strategy.root_device, trainer.precision),
    }
    record = RunRecord(metrics, pd.concat(tables.values(), ignore_index=True), rows)
    if trainer.is_global_zero:
        record.write(folder)
    return record


def _selected_value(record: RunRecord, monitor: str) -> float:
    split, _, name = monitor.partition("/")
    return float(record.metrics["splits"][split][name])


def _close(loggers: list[Logger], failed: bool) -> None:
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
