"""`fer train`: compose, train, select, test once, leave a run record; alone or as one trial of a search."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fer_lightning.commands.finish import ending, score_elsewhere, show_record
from fer_lightning.commands.instantiate import (
    build,
    build_classifier,
    build_datamodule,
    build_each,
    build_net,
    build_trainer,
    check_devices,
    check_optimizer,
    check_selection,
    limit_threads,
    plain,
)
from fer_lightning.commands.stored_config import group_wandb_runs, read_config, read_overrides, started_in
from fer_lightning.data.corruptions import select_corruptions
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError, printable
from fer_lightning.evaluation.efficiency import describe_hardware, parameters
from fer_lightning.evaluation.robustness import score_corruptions, summarise_robustness
from fer_lightning.evaluation.scoring import Inference, predict_split, score_splits
from fer_lightning.files import write_whole
from fer_lightning.overrides import literal
from fer_lightning.results.calibration import calibrate
from fer_lightning.results.metrics_file import identity
from fer_lightning.results.record import RunRecord, describe_commit, describe_software
from fer_lightning.training.callbacks import (
    BestCheckpoint,
    History,
    LastCheckpoint,
    SeedEveryBatch,
    StopAfterDivergence,
    nothing_selected,
)
from fer_lightning.training.checkpoints import add_record, check_last, load_net, start_from
from fer_lightning.training.trainer_options import SUPPORTED, check_trainer

if TYPE_CHECKING:
    from fer_lightning.training.callbacks import TrialReport

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
    if cfg.resume is None:
        return _run(cfg, resumed=False)
    try:
        return _run(_config_of(Path(cfg.output_dir)), resumed=True)
    except UserError as error:
        raise UserError(f"resume={cfg.resume}: {error}") from error


def _run(cfg: DictConfig, resumed: bool) -> float:
    folder = Path(cfg.output_dir)
    cfg = group_wandb_runs(_of_one_run(cfg))
    check_trial(cfg, resumed)
    check_selection(cfg)
    check_optimizer(cfg)
    _corruptions(cfg)
    check_devices(cfg)
    check_trainer(cfg.trainer)
    limit_threads(cfg)
    if not resumed:
        _claim(folder, cfg)
    if (folder / "metrics.json").is_file():
        record = RunRecord.read(folder)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            log.info("%s is finished already.", folder)
            return _selected_value(record, cfg.selection.monitor)
        log.warning("%s is finished already: nothing to train, its pictures are drawn again.", folder)
        show_record(record, _splits(cfg)[-1], build_datamodule(cfg), folder, loggers=[])
        return _selected_value(record, cfg.selection.monitor)
    datamodule = build_datamodule(cfg)
    loggers = build_each(cfg.get("logger"))
    try:
        with part_of_search(cfg) as report, ending(loggers):
            trained = _train(cfg, folder, datamodule, loggers, report)
    except SystemExit as stop:
        if stop.code not in (None, 0, 1):  # submitit, which has queued the job again
            raise
        raise KeyboardInterrupt from stop  # what Lightning makes of Ctrl-C and SIGTERM, the latter without a status
    except MisconfigurationException as error:
        raise UserError(f"trainer: {error}") from error
    if trained is None:
        give_up()
    return _selected_value(trained, cfg.selection.monitor)


def _of_one_run(cfg: DictConfig) -> DictConfig:
    """Without `report`, which is the study's: two studies that need the same run then train it once."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "report"])


def _config_of(folder: Path) -> DictConfig:
    """The config that the run in `folder` was started with, to be continued there."""
    hydra = HydraConfig.get()
    typed = [option for option in hydra.overrides.task if option.partition("=")[0] not in ("resume", "plugins")]
    if typed or hydra.mode == RunMode.MULTIRUN:
        raise UserError("resume=... continues one run exactly as it was configured: leave all other options away.")
    return _with_paths_from_here(read_config(folder), folder)


def _with_paths_from_here(cfg: DictConfig, folder: Path) -> DictConfig:
    """A config whose relative paths are found where the run was started, if they are not found here.

    Raises:
        UserError: Data of the run is gone.
    """
    start = started_in(folder)
    options = ["data.root", "data.cache_dir", "data.landmark_model"]
    options += [f"elsewhere.{name}.root" for name in cfg.get("elsewhere") or {}]
    options += [f"model.checkpoints.{place}" for place in range(len(cfg.model.get("checkpoints") or []))]
    for option in options:
        value = OmegaConf.select(cfg, option)
        if value is None or Path(str(value)).expanduser().exists():
            continue
        from_there = start / str(value)
        if from_there.exists():
            OmegaConf.update(cfg, option, literal(str(from_there)))
        elif option.endswith("root"):
            raise UserError(
                f"{option}={value} of this run does not exist any more: put the data back there, or change the path in "
                f"{folder / 'config.yaml'}."
            )
    return cfg


def _claim(folder: Path, cfg: DictConfig) -> None:
    """Writes the config before anything else, so that the run can be continued wherever it is killed.

    The same command in the same folder continues what is there, which is how a requeued cluster job goes on.

    Raises:
        UserError: Another run lives in the folder.
    """
    path = folder / "config.yaml"
    text = OmegaConf.to_yaml(cfg, resolve=True).encode()
    if (folder / "checkpoints").is_dir() and path.is_file() and path.read_bytes() != text:
        raise UserError(
            f"{folder} holds a run with another config: choose another hydra.run.dir, or continue that run with "
            f"fer train resume={folder}."
        )
    write_whole(path, lambda temporary: temporary.write_bytes(text))


def _splits(cfg: DictConfig) -> tuple[str, ...]:
    """The splits that are scored: a search chooses among its trials, which therefore never see the test split."""
    return ("val", "test") if cfg.trial is None else ("val",)


def _corruptions(cfg: DictConfig) -> tuple[str, ...]:
    """What spoils the test split when it is scored once more.

    Raises:
        UserError: A name is unknown, or the network is given more than the image.
    """
    asked = cfg.get("corruptions", ())  # runs that an earlier version started have none
    names = select_corruptions(asked, cfg.data.get("side", "none"))
    return names if cfg.trial is None else ()


def _train(
    cfg: DictConfig,
    folder: Path,
    datamodule: ExpressionDataModule,
    loggers: list[Logger],
    report: TrialReport | None,
) -> RunRecord | None:
    """Trains and scores; None where a search gave the run up."""
    software = {"versions": describe_software(), "commit": describe_commit()}
    net = build_net(cfg, len(datamodule.label_set))
    stopped_at = folder / "checkpoints" / "last.ckpt"
    # Runs that an earlier version started have no init; one that is continued no longer needs those weights.
    if cfg.get("init") is not None and not stopped_at.is_file():
        start_from(net, Path(cfg.init), len(datamodule.label_set))
    classifier = build_classifier(cfg, net, datamodule)
    history = History()
    best = BestCheckpoint(folder / "checkpoints", cfg.selection.monitor, cfg.selection.mode)
    last = LastCheckpoint(folder / "checkpoints", _decisive_options(cfg))
    always = [SeedEveryBatch(cfg.seed), history, StopAfterDivergence(), *([report] if report else [])]
    started = _Started()
    callbacks = [started, *always, *build_each(cfg.get("callbacks")), best, last]
    trainer = build_trainer(cfg, callbacks, loggers)
    for logger in loggers:
        logger.log_hyperparams(plain(cfg))
    going_on = stopped_at.exists()
    if going_on:
        check_last(folder / "checkpoints", classifier)
    try:
        trainer.fit(classifier, datamodule=datamodule, ckpt_path=stopped_at if going_on else None, weights_only=True)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if not going_on or started.value:
            raise
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"{stopped_at} is damaged ({type(error).__name__}: {told}), so the run cannot go on from there: remove "
            f"{stopped_at.parent} to start this run again from its beginning."
        ) from error
    if report and report.pruned:
        return None
    if not best.best_model_path:
        raise nothing_selected(history.rows, cfg.selection.monitor)
    record = _score_once(cfg, folder, trainer, datamodule, history, software)
    if trainer.is_global_zero:
        show_record(record, _splits(cfg)[-1], datamodule, folder, loggers)
    return record


# Options that say where and how fast a run is computed, and may change while it is stopped.
_PLACES = {"checkpoints", "root", "cache_dir", "landmark_model", "num_workers", "align_workers", "store"}


def _decisive_options(cfg: DictConfig) -> dict[str, Any]:
    """The options that decide what is trained, by the names under which they are typed."""
    parts = ("model", "data", "loss", "procedure", "optimizer", "scheduler", "mixing", "selection")
    options = {f"{part}.{name}": value for part in parts for name, value in (plain(cfg)[part] or {}).items()}
    options |= {f"trainer.{name}": cfg.trainer[name] for name in (*SUPPORTED, "precision") if name in cfg.trainer}
    options["seed"] = cfg.seed
    return {name: value for name, value in options.items() if name.partition(".")[2] not in _PLACES}


class _Started(pl.Callback):
    """Whether training has begun: what fails before does so over the checkpoint it goes on from."""

    value = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.value = True


def _score_once(
    cfg: DictConfig,
    folder: Path,
    trainer: pl.Trainer,
    datamodule: ExpressionDataModule,
    history: History,
    software: dict[str, Any],
) -> RunRecord:
    """Scores the selected epoch on validation and, once, on test, and writes the record with its figures."""
    selected = load_net(folder / "checkpoints" / "best.ckpt")
    classes = selected.classes
    inference = Inference(selected.net, cfg.channels_last, flip=False)
    tables = {split: predict_split(trainer, inference, datamodule, split, classes) for split in _splits(cfg)}
    predictions = pd.concat(tables.values(), ignore_index=True)
    rows = pd.DataFrame(history.rows)
    train_seconds = float(rows["train_seconds"].sum())
    metrics = {
        "protocol": datamodule.protocol.to_dict(),
        "model": type(selected.net).__name__,
        "parameters": parameters(selected.net),
        "preprocessing": selected.description["preprocessing"],
        "seed": cfg.seed,
        "overrides": _overrides(folder),
        **identity(_overrides(folder), cfg.get("budget") or "pilot"),
        "selection": {"monitor": cfg.selection.monitor, "mode": cfg.selection.mode},
        "best_epoch": selected.epoch,
        "epochs": len(rows),
        "bad_samples": len(datamodule.bad),
        "splits": score_splits(tables, classes, datamodule),
        "calibration": calibrate(predictions, classes),
        "elsewhere": {} if cfg.trial is not None else score_elsewhere(cfg, trainer, inference, selected, datamodule),
        "timing": {
            "fit_seconds": float(rows["seconds"].sum()),
            "train_seconds": train_seconds,
            "train_images_per_second": float(rows["images"].sum()) / train_seconds,
        },
        **software,
        "hardware": describe_hardware(trainer.strategy.root_device, trainer.precision),
    }
    names = _corruptions(cfg)
    robustness = score_corruptions(trainer, inference, datamodule, classes, names) if names else None
    if robustness is not None:
        metrics["robustness"] = summarise_robustness(robustness)
    record = RunRecord(metrics, predictions, rows, robustness)
    if trainer.is_global_zero:
        add_record(folder / "checkpoints" / "best.ckpt", metrics)
        record.write(folder)
    return record


def _overrides(folder: Path) -> list[str]:
    """What was typed when the run was started, not when it was continued."""
    typed = read_overrides(folder)
    return list(map(printable, HydraConfig.get().overrides.task if typed is None else typed))


def _selected_value(record: RunRecord, monitor: str) -> float:
    split, _, name = monitor.partition("/")
    return float(record.metrics["splits"][split][name])


def check_trial(cfg: DictConfig, resumed: bool) -> None:
    """Refuses a number that no sweeper gave.

    Args:
        cfg: Config of the run.
        resumed: Whether it is continued by hand, which a trial may be too.

    Raises:
        UserError: `trial` was set by hand.
    """
    if cfg.trial is not None and not resumed and "study_name" not in HydraConfig.get().sweeper:
        raise UserError(f"trial={cfg.trial} is set by the sweeper alone: leave it away, or add hydra/sweeper=optuna.")


@contextmanager
def part_of_search(cfg: DictConfig) -> Iterator[TrialReport | None]:
    """Keeps the trial of this run claimed as long as the block lasts.

    Args:
        cfg: Config of the run; `trial` is the number that the sweeper gave it.

    Yields:
        The callback that reports to the search; None where the run belongs to none, or is continued by hand.
    """
    hydra = HydraConfig.get()
    if cfg.trial is None or hydra.mode != RunMode.MULTIRUN:
        yield None
        return
    # Only a trial needs Optuna and a database.
    import optuna
    from optuna.storages import RDBStorage

    from fer_lightning.search.storage import Lease, open_storage
    from fer_lightning.training.callbacks import TrialReport

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(hydra.sweep.dir)
    storage = open_storage(hydra.sweeper.storage, folder)
    study = optuna.load_study(
        study_name=hydra.sweeper.study_name or folder.name,
        storage=storage,
        sampler=optuna.samplers.RandomSampler(),  # nothing is drawn here
        pruner=build(hydra.sweeper.pruner),
    )
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, cfg.trial)
    try:
        with Lease(study, hydra.sweeper.lease) as lease:
            lease.keep(trial_id)
            yield TrialReport(study, trial_id, cfg.selection.monitor)
    finally:
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()


def give_up() -> NoReturn:
    """Ends a run that its search has given up.

    Raises:
        TrialPruned: Always.
    """
    from optuna import TrialPruned

    raise TrialPruned
