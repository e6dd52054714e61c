"""`fer train`: training, selection of an epoch, one test and the run record; also as a trial of a search."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from optuna import TrialPruned
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich import get_console
from torch import nn

from fer_lightning.commands.finish import (
    ending,
    explained,
    finish_run,
    open_loggers,
    score_run,
    show_record,
    typed_in,
)
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
from fer_lightning.commands.stored_config import config_of_run
from fer_lightning.data.corruptions import select_corruptions
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.samples import SPLITS
from fer_lightning.errors import UserError, require_known
from fer_lightning.evaluation.cross_dataset import predict_shared
from fer_lightning.evaluation.efficiency import describe_hardware, parameters
from fer_lightning.evaluation.metrics import check_selection
from fer_lightning.evaluation.scoring import Inference
from fer_lightning.files import shown_path, write_json, write_whole
from fer_lightning.models.affect import add_affect_head
from fer_lightning.results.calibration import calibrate
from fer_lightning.results.metrics_schema import STARTED, identity, read_started
from fer_lightning.results.naming import network_name, variant_name
from fer_lightning.results.run_record import RunRecord, describe_code
from fer_lightning.results.selection_optimism import TRACKED
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
from fer_lightning.training.teacher import teach
from fer_lightning.training.tracking import TrackTestSplit
from fer_lightning.training.trainer_options import check_devices, check_trainer

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Trains one classifier as configured.

    Returns:
        Value of `selection.monitor` at the selected epoch, for sweepers.

    Raises:
        TrialPruned: The run is a trial that the pruner of its search ended.
    """
    resumed = cfg.resume is not None
    with explained(cfg.resume):
        verbose, bars = shown(cfg.show)
        cfg = config_of_run(cfg)
        check(cfg, resumed)
        run = open_run(cfg, resumed)
        if run.state == "finished":
            return _selected_value(_show_again(cfg, run.folder, verbose), cfg)
        datamodule = build_datamodule(cfg)
        protocol = datamodule.protocol.to_dict()
        loggers = open_loggers(cfg, {"seed": cfg.seed, "protocol": protocol, **run.started})
        code = describe_code()  # before training: the checkout may change meanwhile
        with trial_of(cfg) as trial, ending(loggers):
            trainer, history = fit(cfg, run, datamodule, loggers, trial, bars)
            if trial is None or not trial.pruned:
                record = score(cfg, run, trainer, datamodule, history, code)
                if trainer.is_global_zero:
                    add_record(run.checkpoints / "best.ckpt", record.metrics)
                    finish_run(record, datamodule, run.folder, loggers, verbose)
                return _selected_value(record, cfg)
        raise TrialPruned


def shown(show: str) -> tuple[bool, bool]:
    """Whether the terminal shows the epochs and tables of a run, and whether it shows bars.

    Bars of runs in parallel would overwrite each other, and in a log file they are only empty lines.

    Raises:
        UserError: `show` is not `auto`, `quiet` or `verbose`.
    """
    require_known("show", show, ("auto", "quiet", "verbose"))
    hydra = HydraConfig.get()
    several = hydra.mode == RunMode.MULTIRUN
    in_turn = not several or str(hydra.launcher.get("_target_")).endswith("BasicLauncher")
    bars = show != "quiet" and in_turn and get_console().is_interactive
    return show == "verbose" or (show == "auto" and not several), bars


def check(cfg: DictConfig, resumed: bool) -> None:
    """Checks the options of a run before anything is read or written, and applies `threads`.

    Options that depend on the data or the network are checked when those are built.

    Raises:
        UserError: The run cannot be trained with these options.
    """
    if cfg.trial is not None and not resumed and "study_name" not in HydraConfig.get().sweeper:
        raise UserError(f"trial={cfg.trial} is set by the sweeper only: omit it, or add hydra/sweeper=optuna.")
    check_selection(cfg.selection.monitor, cfg.selection.mode)
    if cfg.get("track_test") and (cfg.trial is not None or "checkpoints" in cfg.model):
        raise UserError(
            "track_test=true scores each epoch of one training; a trial of a search and a vote of finished runs have "
            "no such scores: omit it."
        )
    check_optimizer(cfg)
    _corruptions(cfg)
    check_parts(cfg)
    _teachers(cfg)
    check_devices(cfg.trainer, multirun=HydraConfig.get().mode == RunMode.MULTIRUN)
    check_trainer(cfg.trainer)
    limit_threads(cfg)


@dataclass(frozen=True)
class Run:
    """Folder of a run and the state of the run.

    Attributes:
        folder: The folder, which contains `config.yaml`.
        state: `new`; `stopped` if it can be resumed from `last.ckpt`; `finished` if its record is written.
    """

    folder: Path
    state: Literal["new", "stopped", "finished"]

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @cached_property
    def started(self) -> dict[str, Any]:
        """Overrides and identity of the run, as it was started; errors as in `read_started`."""
        return read_started(self.folder)


def open_run(cfg: DictConfig, resumed: bool) -> Run:
    """Writes config and identity of a run before anything else, so that it can be resumed after a kill at any time.

    The same command in the same folder resumes the run there, which a requeued cluster job relies on. The config of a
    run that the user resumes was read from the folder.

    Raises:
        UserError: The folder contains another run.
    """
    folder = Path(cfg.output_dir)
    path, text = folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True).encode()
    known = resumed or (path.is_file() and path.read_bytes() == text)
    if not known and (folder / "checkpoints").is_dir() and path.is_file():
        raise UserError(
            f"{folder} contains a run with another config: use another hydra.run.dir, or resume that run with "
            f"fer train resume={folder}."
        )
    if not (known and (folder / STARTED).is_file()):  # runs of earlier versions have none
        overrides = typed_in(folder)
        write_json(folder / STARTED, {"overrides": overrides, **identity(overrides, cfg.get("budget") or "pilot")})
    if not known:
        write_whole(path, lambda temporary: temporary.write_bytes(text))
    stopped = (folder / "checkpoints" / "last.ckpt").is_file()
    state: Any = "finished" if (folder / "metrics.json").is_file() else "stopped" if stopped else "new"
    return Run(folder, state)


def fit(
    cfg: DictConfig,
    run: Run,
    datamodule: ExpressionDataModule,
    loggers: list[Logger],
    trial: TrialReport | None,
    bars: bool,
) -> tuple[pl.Trainer, History]:
    """Trains a new or stopped run to its end, or until the pruner of its search ends it; with or without `bars`.

    Raises:
        UserError: The network, its options or its data are invalid, or no epoch could be selected.
    """
    net = build_net(cfg, len(datamodule.label_set))
    if cfg.data.get("affect"):
        add_affect_head(net)
    # Runs of earlier versions have no init; a resumed run no longer needs its initial weights.
    if run.state == "new" and cfg.get("init") is not None:
        start_from(net, Path(cfg.init), len(datamodule.label_set))
    classifier = build_classifier(cfg, net, datamodule)
    history = History()
    best = BestCheckpoint(run.checkpoints, cfg.selection.monitor, cfg.selection.mode)
    last = LastCheckpoint(run.checkpoints, decisive_options(cfg))
    always = [history, SeedEveryBatch(cfg.seed), StopAfterDivergence(), *([trial] if trial else [])]
    if cfg.get("track_test"):  # runs of earlier versions have none
        always.append(TrackTestSplit(history, datamodule, run.folder / TRACKED))
    trainer = build_trainer(cfg, [*always, *build_each(cfg.get("callbacks")), best, last], loggers, bars)
    if teachers := _teachers(cfg):
        teach(datamodule, teachers, cfg.teacher_tta, trainer.strategy.root_device)
    for logger in loggers:
        logger.log_hyperparams(plain(cfg))
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        _log_header(cfg, run, datamodule, net, trainer)
    fit_from_last(trainer, classifier, datamodule, run.checkpoints, history)
    if trial is None or not trial.pruned:
        best.require_selected(history.rows)
    return trainer, history


def _log_header(
    cfg: DictConfig, run: Run, datamodule: ExpressionDataModule, net: nn.Module, trainer: pl.Trainer
) -> None:
    """Logs what is about to be trained: network, data, device, folder and time."""
    protocol = datamodule.protocol
    net_name = type(net).__name__
    name = f"{variant_name(run.started['variant'], default=network_name(net_name))} ({net_name})"
    counts = ", ".join(f"{protocol.counts.get(split, 0):,} {split}" for split in SPLITS)
    split = "" if protocol.split == "official" else f" ({protocol.split})"
    hardware = describe_hardware(trainer.strategy.root_device, trainer.precision)
    threads = hardware["threads"]
    device = hardware.get("gpu") or f"{hardware['device']}, {threads} thread{'s' if threads != 1 else ''}"
    limit = cfg.trainer.max_epochs
    epochs = "no limit of epochs" if limit == -1 else f"{limit} epoch{'s' if limit != 1 else ''}"
    lines = {
        "net": f"{name}, {parameters(net):,} parameters, seed {cfg.seed}",
        "data": f"{protocol.dataset}, {len(protocol.classes)} classes: {counts}{split}",
        "device": f"{device}, {trainer.precision}",
        "folder": f"{shown_path(run.folder)}{'' if run.state == 'new' else ', continued'}",
        "time": f"{epochs}; estimates follow while it runs",
    }
    for heading, text in lines.items():
        log.info("%-7s %s", heading, text)


def score(
    cfg: DictConfig,
    run: Run,
    trainer: pl.Trainer,
    datamodule: ExpressionDataModule,
    history: History,
    code: Mapping[str, Any],
) -> RunRecord:
    """Record of a trained run: the scores of its selected epoch on validation and, once, on test.

    A search selects among its trials, which are therefore not scored on the test split.
    """
    trained = load_net(run.checkpoints / "best.ckpt")
    inference = Inference(trained.net, cfg.channels_last)
    splits, elsewhere = (("val", "test"), cfg.get("elsewhere") or {}) if cfg.trial is None else (("val",), {})
    predicted = {split: predict_shared(trainer, inference, datamodule, split, trained.classes) for split in splits}
    scored = score_run(trainer, inference, trained, datamodule, predicted, elsewhere, _corruptions(cfg), code)
    epochs = pd.DataFrame(history.rows)
    train_seconds = float(epochs["train_seconds"].sum())
    of_training = {
        "parameters": parameters(trained.net),
        "seed": cfg.seed,
        **run.started,
        "selection": {"monitor": cfg.selection.monitor, "mode": cfg.selection.mode},
        "best_epoch": trained.epoch,
        "epochs": len(epochs),
        **({"track_test": True} if cfg.get("track_test") else {}),
        "bad_samples": len(datamodule.bad),
        "calibration": calibrate(scored.predictions, trained.classes, trained.description.get("training_prior")),
        "timing": {
            "fit_seconds": float(epochs["seconds"].sum()),
            "train_seconds": train_seconds,
            "train_images_per_second": float(epochs["images"].sum()) / train_seconds,
        },
    }
    return replace(scored, metrics={**of_training, **scored.metrics}, history=epochs)


def _teachers(cfg: DictConfig) -> list[str]:
    """Trained networks that the run learns from; configs of earlier versions have none.

    Raises:
        UserError: The loss does not learn from a teacher but there is one, or the other way round.
    """
    teachers = plain(cfg).get("teacher") or []
    learns = cfg.loss["_target_"].endswith(".Distillation")
    if learns and not teachers:
        raise UserError("loss=distillation needs the run that it learns from: use teacher=outputs/...")
    if teachers and not learns:
        raise UserError("teacher=... needs a loss that learns from it: add loss=distillation.")
    if teachers and not cfg.procedure["_target_"].endswith(".ExpressionClassifier"):
        raise UserError("loss=distillation needs procedure=supervised; the others do not use a teacher.")
    return [teachers] if isinstance(teachers, str) else teachers


def _show_again(cfg: DictConfig, folder: Path, verbose: bool) -> RunRecord:
    """Record of a finished run, whose figures are drawn again unless it belongs to a multirun."""
    record = RunRecord.read(folder)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        log.info("%s is already finished.", folder)
    else:
        log.warning("%s is already finished and is not trained again; its figures are redrawn.", folder)
        show_record(record, build_datamodule(cfg), folder, [], verbose)
    return record


def _selected_value(record: RunRecord, cfg: DictConfig) -> float:
    split, _, name = cfg.selection.monitor.partition("/")
    return float(record.metrics["splits"][split][name])


def _corruptions(cfg: DictConfig) -> tuple[str, ...]:
    """Corruptions under which the test split is scored; none for a trial of a search.

    Raises:
        UserError: A name is unknown, or the network has an auxiliary input.
    """
    names = select_corruptions(cfg.get("corruptions", ()), cfg.data.get("side", "none"))  # earlier versions have none
    return names if cfg.trial is None else ()
