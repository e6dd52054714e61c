"""`fer train`: compose, train, select, test once, leave a run record; alone or as one trial of a search."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from optuna import TrialPruned
from pytorch_lightning.loggers import Logger

from fer_lightning.commands.finish import ending, explained, finish_run, score_run, show_record
from fer_lightning.commands.instantiate import (
    build_classifier,
    build_datamodule,
    build_each,
    build_net,
    build_trainer,
    check_optimizer,
    check_parts,
    decisive_options,
    limit_threads,
    plain,
    trial_of,
)
from fer_lightning.commands.stored_config import config_of_run, read_overrides
from fer_lightning.data.corruptions import select_corruptions
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError, printable
from fer_lightning.evaluation.cross_dataset import predict_shared
from fer_lightning.evaluation.efficiency import parameters
from fer_lightning.evaluation.metrics import check_selection
from fer_lightning.evaluation.scoring import Inference
from fer_lightning.files import write_json, write_whole
from fer_lightning.results.calibration import calibrate
from fer_lightning.results.metrics_schema import STARTED, identity, read_started
from fer_lightning.results.run_record import RunRecord, describe_code
from fer_lightning.training.callbacks import (
    BestCheckpoint,
    History,
    LastCheckpoint,
    SeedEveryBatch,
    StopAfterDivergence,
    TrialReport,
    fit_from_last,
)
from fer_lightning.training.checkpoints import add_record, load_net, start_from
from fer_lightning.training.trainer_options import check_devices, check_trainer

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Trains one classifier as configured.

    Args:
        cfg: Composed from `conf/train.yaml`.

    Returns:
        The value of `selection.monitor` at the selected epoch, for sweepers.

    Raises:
        TrialPruned: The run is a trial of a search, which gave it up.
    """
    resumed = cfg.resume is not None
    with explained(cfg.resume):
        cfg = config_of_run(cfg)
        check(cfg, resumed)
        run = open_run(cfg, resumed)
        if run.state == "finished":
            return _selected_value(_show_again(cfg, run.folder), cfg)
        datamodule = build_datamodule(cfg)
        loggers = build_each(cfg.get("logger"))
        code = describe_code()  # that which trains, even if a checkout changes meanwhile
        with trial_of(cfg) as trial, ending(loggers):
            trainer, history = fit(cfg, run, datamodule, loggers, trial)
            if trial is None or not trial.pruned:
                record = score(cfg, run, trainer, datamodule, history, code)
                if trainer.is_global_zero:
                    add_record(run.checkpoints / "best.ckpt", record.metrics)
                    finish_run(record, datamodule, run.folder, loggers)
                return _selected_value(record, cfg)
        raise TrialPruned


def check(cfg: DictConfig, resumed: bool) -> None:
    """Refuses what cannot be trained, before anything is read or written, and applies `threads`.

    What the data or the network alone can tell is refused when they are built.

    Args:
        cfg: Config of the run.
        resumed: Whether it is continued by hand, which a trial may be too.

    Raises:
        UserError: Says what must hold.
    """
    if cfg.trial is not None and not resumed and "study_name" not in HydraConfig.get().sweeper:
        raise UserError(f"trial={cfg.trial} is set by the sweeper alone: leave it away, or add hydra/sweeper=optuna.")
    check_selection(cfg.selection.monitor, cfg.selection.mode)
    check_optimizer(cfg)
    _corruptions(cfg)
    check_parts(cfg)
    check_devices(cfg.trainer, multirun=HydraConfig.get().mode == RunMode.MULTIRUN)
    check_trainer(cfg.trainer)
    limit_threads(cfg)


@dataclass(frozen=True)
class Run:
    """A run folder as it was found.

    Attributes:
        folder: The folder; it holds `config.yaml`.
        state: `new`; `stopped` where `last.ckpt` can be continued; `finished` where the record is written.
    """

    folder: Path
    state: Literal["new", "stopped", "finished"]

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def open_run(cfg: DictConfig, resumed: bool) -> Run:
    """Writes config and identity of a run before anything else, so that it can be continued wherever it is killed.

    The same command in the same folder continues what is there, which is how a requeued cluster job goes on.

    Args:
        cfg: Config of the run.
        resumed: Whether it was read from the folder.

    Raises:
        UserError: Another run lives in the folder.
    """
    folder = Path(cfg.output_dir)
    path, text = folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True).encode()
    known = resumed or (path.is_file() and path.read_bytes() == text)
    if not known and (folder / "checkpoints").is_dir() and path.is_file():
        raise UserError(
            f"{folder} holds a run with another config: choose another hydra.run.dir, or continue that run with "
            f"fer train resume={folder}."
        )
    if not (known and (folder / STARTED).is_file()):  # which runs that an earlier version started do not have
        typed = read_overrides(folder)
        overrides = list(map(printable, HydraConfig.get().overrides.task if typed is None else typed))
        write_json(folder / STARTED, {"overrides": overrides, **identity(overrides, cfg.get("budget") or "pilot")})
    if not known:
        write_whole(path, lambda temporary: temporary.write_bytes(text))
    stopped = (folder / "checkpoints" / "last.ckpt").is_file()
    state: Any = "finished" if (folder / "metrics.json").is_file() else "stopped" if stopped else "new"
    return Run(folder, state)


def fit(
    cfg: DictConfig, run: Run, datamodule: ExpressionDataModule, loggers: list[Logger], trial: TrialReport | None
) -> tuple[pl.Trainer, History]:
    """Trains a new or stopped run to its end, or until its search gives it up.

    Raises:
        UserError: The network, its options or its data are refused, or no epoch could be selected.
    """
    net = build_net(cfg, len(datamodule.label_set))
    # Runs that an earlier version started have no init; one that is continued no longer needs those weights.
    if run.state == "new" and cfg.get("init") is not None:
        start_from(net, Path(cfg.init), len(datamodule.label_set))
    classifier = build_classifier(cfg, net, datamodule)
    history = History()
    best = BestCheckpoint(run.checkpoints, cfg.selection.monitor, cfg.selection.mode)
    last = LastCheckpoint(run.checkpoints, decisive_options(cfg))
    always = [history, SeedEveryBatch(cfg.seed), StopAfterDivergence(), *([trial] if trial else [])]
    trainer = build_trainer(cfg, [*always, *build_each(cfg.get("callbacks")), best, last], loggers)
    for logger in loggers:
        logger.log_hyperparams(plain(cfg))
    fit_from_last(trainer, classifier, datamodule, run.checkpoints, history)
    if trial is None or not trial.pruned:
        best.require_selected(history.rows)
    return trainer, history


def score(
    cfg: DictConfig,
    run: Run,
    trainer: pl.Trainer,
    datamodule: ExpressionDataModule,
    history: History,
    code: Mapping[str, Any],
) -> RunRecord:
    """The record of a trained run: its selected epoch scored on validation and, once, on test.

    A search chooses among its trials, which therefore never see the test split.
    """
    trained = load_net(run.checkpoints / "best.ckpt")
    inference = Inference(trained.net, cfg.channels_last, flip=False)
    splits, elsewhere = (("val", "test"), cfg.get("elsewhere") or {}) if cfg.trial is None else (("val",), {})
    predicted = {split: predict_shared(trainer, inference, datamodule, split, trained.classes) for split in splits}
    scored = score_run(trainer, inference, trained, datamodule, predicted, elsewhere, _corruptions(cfg), code)
    epochs = pd.DataFrame(history.rows)
    train_seconds = float(epochs["train_seconds"].sum())
    own = {
        "parameters": parameters(trained.net),
        "seed": cfg.seed,
        **read_started(run.folder),
        "selection": {"monitor": cfg.selection.monitor, "mode": cfg.selection.mode},
        "best_epoch": trained.epoch,
        "epochs": len(epochs),
        "bad_samples": len(datamodule.bad),
        "calibration": calibrate(scored.predictions, trained.classes),
        "timing": {
            "fit_seconds": float(epochs["seconds"].sum()),
            "train_seconds": train_seconds,
            "train_images_per_second": float(epochs["images"].sum()) / train_seconds,
        },
    }
    return replace(scored, metrics={**own, **scored.metrics}, history=epochs)


def _show_again(cfg: DictConfig, folder: Path) -> RunRecord:
    """The record of a finished run, drawn again where it was asked for alone."""
    record = RunRecord.read(folder)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        log.info("%s is finished already.", folder)
    else:
        log.warning("%s is finished already: nothing to train, its pictures are drawn again.", folder)
        show_record(record, build_datamodule(cfg), folder, loggers=[])
    return record


def _selected_value(record: RunRecord, cfg: DictConfig) -> float:
    split, _, name = cfg.selection.monitor.partition("/")
    return float(record.metrics["splits"][split][name])


def _corruptions(cfg: DictConfig) -> tuple[str, ...]:
    """The corruptions that the test split is scored under once more, which a trial of a search never sees.

    Raises:
        UserError: A name is unknown, or the network is given more than the image.
    """
    asked = cfg.get("corruptions", ())  # runs that an earlier version started have none
    names = select_corruptions(asked, cfg.data.get("side", "none"))
    return names if cfg.trial is None else ()
