"""`fer evaluate`: score a checkpoint on any dataset, by class name."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fer_lightning.commands.finish import ending, show_record
from fer_lightning.commands.instantiate import build, build_each, build_trainer, check_devices, limit_threads, plain
from fer_lightning.data.corruptions import select_corruptions
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.samples import SPLITS
from fer_lightning.deploy.portable import PLACES
from fer_lightning.elsewhere import score_elsewhere
from fer_lightning.errors import UserError, printable
from fer_lightning.commands.stored_config import default_cache, places_of, usual_root
from fer_lightning.training.checkpoints import TrainedNet, load_net
from fer_lightning.training.inference import Inference
from fer_lightning.evaluation.cross_dataset import predict_shared
from fer_lightning.results.record import RunRecord, describe_commit, describe_hardware, describe_software
from fer_lightning.training.registry import check_arguments, look_up
from fer_lightning.evaluation.robustness import score_corruptions, summarise_robustness
from fer_lightning.evaluation.scoring import score, score_splits

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


def data_for(cfg: DictConfig, trained: TrainedNet) -> ExpressionDataModule:
    """The data of the config, or the one of the training run, in the network's own preprocessing."""
    preprocessing = trained.description["preprocessing"]
    if "_target_" in cfg.data:
        for name, value in preprocessing.items():
            if _typed(f"data.{name}") and cfg.data[name] != value:
                log.warning("data.%s=%s is left aside: the net was trained with %s.", name, cfg.data[name], value)
        datamodule: ExpressionDataModule = build(cfg.data, **preprocessing)
    else:
        moved = {name: value for name, value in plain(cfg.data).items() if value is not None}
        # A file never chooses where something is read or written.
        stored = {name: value for name, value in trained.description["data"].items() if name not in PLACES}
        here: dict[str, Any] = {"landmark_model": None, "align_workers": None, "transforms": []}
        arguments = {**_places(cfg, trained), **stored, **here, **moved}
        where = f"checkpoint={cfg.checkpoint}"
        dataset = look_up(arguments.pop("_target_", None), "data", ExpressionDataModule, where)
        try:
            check_arguments(dataset, arguments, where)
            datamodule = dataset(**arguments)
        except (TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{where} was written by another version, whose data had other options: name the data, for example "
                f"data=fer2013. ({error})"
            ) from None
    datamodule.setup()
    own = trained.description["protocol"]
    if datamodule.protocol.dataset == own["dataset"] and datamodule.protocol.fingerprint != own["fingerprint"]:
        log.warning(
            "The network was trained on another split or copy of %s: rows it has seen may be among those scored here.",
            own["dataset"],
        )
    return datamodule


def _places(cfg: DictConfig, trained: TrainedNet) -> dict[str, Any]:
    """Where the data of a network lies: where its run folder says, else where the config looks for it."""
    name = trained.description["protocol"]["dataset"]
    usual = {"root": usual_root(name), "cache_dir": default_cache()}
    return usual | (places_of(Path(str(cfg.checkpoint)).expanduser()) if cfg.data.root is None else {})


def _typed(option: str) -> bool:
    return any(override.partition("=")[0] == option for override in HydraConfig.get().overrides.task)
