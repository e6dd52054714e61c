"""End of a run: its scores, the figures of its record, tables in the terminal, W&B and MLflow."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console

from fer_lightning.commands.instantiate import build, build_each
from fer_lightning.commands.stored_config import (
    read_overrides,
    shared_overrides,
    stored_hydra,
    sweep_group,
    within_hydra,
)
from fer_lightning.data.corruptions import SEVERITIES, corruption
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.samples import SPLITS
from fer_lightning.errors import UserError, printable
from fer_lightning.evaluation.cross_dataset import SharedPredictions, score_other_data
from fer_lightning.evaluation.efficiency import describe_hardware
from fer_lightning.evaluation.robustness import score_corruptions, summarise_robustness
from fer_lightning.evaluation.scoring import Inference, score, score_splits
from fer_lightning.files import write_csv
from fer_lightning.plots.contact_sheet import draw_contact_sheet, error_caption
from fer_lightning.plots.predictions import draw_curves, draw_fairness, draw_predictions
from fer_lightning.plots.result_table import print_result
from fer_lightning.plots.robustness import draw_corruptions, draw_robustness
from fer_lightning.plots.style import MUTED, save_figures
from fer_lightning.plots.text import shorten
from fer_lightning.results.curves import most_confident_errors
from fer_lightning.results.fairness import groups_table
from fer_lightning.results.naming import label_run, run_title
from fer_lightning.results.run_record import RunRecord, predicted_arrays
from fer_lightning.training.checkpoints import TrainedNet
from fer_lightning.training.mlflow_logger import MLflowRunLogger
from fer_lightning.training.wandb_logger import WandbRunLogger, log_run

SHOWN_ERRORS = 24
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """How Hydra started a run.

    Attributes:
        overrides: What was typed, or chosen by a sweep, for the run.
        choices: Chosen config of each group.
        shared: What was typed for all runs of the multirun; empty for a single run.
        group: Name of the multirun's folder; None for a single run.
    """

    overrides: list[str]
    choices: dict[str, str]
    shared: list[str]
    group: str | None


def typed_in(folder: Path) -> list[str]:
    """Overrides of the run in a folder; if none are stored in it, those of the command that runs now.

    Raises:
        UserError: The stored file is damaged.
    """
    stored = read_overrides(folder)
    return [printable(override) for override in (HydraConfig.get().overrides.task if stored is None else stored)]


def read_start(folder: Path) -> Start:
    """How the run in a folder was started, also where it is resumed now; if nothing is stored, by this command.

    Raises:
        UserError: A stored file is damaged.
    """
    hydra, stored = HydraConfig.get(), stored_hydra(folder)
    values = stored if hydra.output_subdir is None and stored else {"hydra": hydra}  # None where a run is resumed
    choices = within_hydra(values, "runtime", "choices")
    start = Start(
        overrides=typed_in(folder),
        choices={str(key): str(name) for key, name in dict(choices or {}).items() if name is not None},
        shared=[],
        group=None,
    )
    if str(within_hydra(values, "mode")).rpartition(".")[2] != RunMode.MULTIRUN.name:
        return start
    sweep = folder.absolute().parent if values is stored else Path(hydra.sweep.dir)
    with suppress(UserError):  # another process may be writing it
        start = replace(start, shared=shared_overrides(sweep))
    return replace(start, group=sweep_group(sweep))


def open_loggers(cfg: DictConfig, record: Mapping[str, Any], job_type: str = "train") -> list[Logger]:
    """Builds the loggers of a run; those of W&B and MLflow show what the run is from its start.

    They are given the fields of its record that are known before it ends: `study`, `variant`, `protocol` and `seed`.

    Raises:
        UserError: The package of a logger is not installed, or an option of it is invalid.
    """
    for name in {"mlflow", "tensorboard"} & set(cfg.get("logger") or ()):
        if find_spec(name) is None:
            raise UserError(f"logger={name} needs the package {name}: pip install 'fer_lightning[{name}]'.")
    loggers = build_each(cfg.get("logger"))
    start = read_start(Path(cfg.output_dir))
    selection = cfg.get("selection")
    labels = label_run(record, start.choices, start.shared, start.group, job_type, cfg.get("trial"))
    facts = {
        # Dots would be levels of the config in W&B, whose tables can show and group by each choice.
        "choices": {
            group.replace(".", "/"): name for group, name in start.choices.items() if not group.startswith("hydra/")
        },
        "overrides": " ".join(start.overrides),
        "protocol": record["protocol"],
    }
    for logger in loggers:
        if isinstance(logger, WandbRunLogger):
            logger.describe(labels, facts, (selection.monitor, selection.mode) if selection else None)
        elif isinstance(logger, MLflowRunLogger):
            logger.describe(labels)
    return loggers


def score_run(
    trainer: pl.Trainer,
    inference: Inference,
    trained: TrainedNet,
    datamodule: ExpressionDataModule,
    predicted: Mapping[str, SharedPredictions],
    elsewhere: Mapping[str, DictConfig],
    corruptions: Sequence[str],
    code: Mapping[str, Any],
) -> RunRecord:
    """Scores of predictions by split, and of their network on other data sets and on corruptions of the last split.

    Args:
        trainer: Trainer that runs the predictions on other images.
        inference: The network.
        trained: The same network with its description.
        datamodule: Data of the predictions.
        predicted: Predictions by split, all over the same classes.
        elsewhere: Configs of other data sets by name.
        corruptions: Keys of `CORRUPTIONS`.
        code: Versions and commit, see `describe_code`.

    Returns:
        The common part of the records of `fer train` and `fer evaluate`, without a history.
    """
    split, shared = [*predicted.items()][-1]
    tta = inference.tta if inference.tta != "none" else getattr(trained.net, "tta", "none")  # of a vote
    tables = {name: each.table for name, each in predicted.items()}
    if datamodule.protocol.fingerprint == trained.description["protocol"]["fingerprint"]:
        splits = score_splits(tables, shared.classes, datamodule)
    else:  # it is unknown which of these images were used for training
        splits = {name: score(table, shared.classes) for name, table in tables.items()}
    metrics = {
        "protocol": replace(datamodule.protocol, classes=shared.classes, tta=tta, prior=inference.prior.name).to_dict(),
        "model": type(trained.net).__name__,
        "preprocessing": trained.description["preprocessing"],
        "splits": splits,
        "elsewhere": score_elsewhere(elsewhere, trainer, inference, trained, datamodule),
        **code,
        "hardware": describe_hardware(trainer.strategy.root_device, trainer.precision),
    }
    robustness = None
    if corruptions:
        robustness = score_corruptions(trainer, inference, datamodule, trained.classes, corruptions, split)
        metrics["robustness"] = summarise_robustness(robustness)
    predictions = pd.concat(tables.values(), ignore_index=True)
    return RunRecord(metrics, predictions, pd.DataFrame({"epoch": []}), robustness)


def finish_run(
    record: RunRecord, datamodule: ExpressionDataModule, folder: Path, loggers: Sequence[Logger], verbose: bool = True
) -> None:
    """Writes the record of a run and shows it; see `show_record`."""
    if "fairness" in record.metrics:
        write_csv(folder / "fairness.csv", groups_table(record.metrics["fairness"]), index=False)
    record.write(folder)
    show_record(record, datamodule, folder, loggers, verbose)


def show_record(
    record: RunRecord, datamodule: ExpressionDataModule, folder: Path, loggers: Sequence[Logger], verbose: bool = True
) -> None:
    """Draws the figures of a finished run, prints its tables if `verbose` and logs both, of the last of its splits."""
    split = [name for name in SPLITS if name in record.metrics["splits"]][-1]
    classes, subject = record.metrics["protocol"]["classes"], run_title(record.metrics)
    targets, probabilities = predicted_arrays(record.predictions, classes, split)
    calibration = record.metrics.get("calibration", {})  # earlier records and those of fer evaluate have none
    temperature = calibration.get("temperature") if split in calibration else None
    figures = draw_predictions(targets, probabilities, classes, split, temperature)
    if not record.history.empty:
        figures["curves"] = draw_curves(record.history, record.metrics["best_epoch"])
    errors = most_confident_errors(targets, probabilities, SHOWN_ERRORS)
    captions = [error_caption(int(targets[row]), probabilities[row], classes) for row in errors]
    images = _images_of(record, split, datamodule, errors) if captions else np.empty(0, np.uint8)
    if captions:
        title = f"{subject}, {split}: the most confident errors"
        figures["errors"] = draw_contact_sheet(images, captions, 8, title)
    if record.robustness is not None:
        table = record.robustness.assign(variant=shorten(subject, 44), seed=record.metrics.get("seed", 0))
        figures["robustness"] = draw_robustness(table, np.bincount(targets).max() / len(targets))
        figures["corruptions"] = draw_corruptions(_corrupted(datamodule, split, table["corruption"].unique()))
    if "fairness" in record.metrics:
        figures["fairness"] = draw_fairness(record.metrics["fairness"], split)
    for name in figures.keys() - {"errors", "corruptions", "robustness"}:  # in which it is written already, or a sheet
        figures[name].suptitle(subject, x=0.01, ha="left", fontsize=10, color=MUTED)
    pictures = save_figures(folder / "figures", figures)
    for logger in loggers:
        if isinstance(logger, MLflowRunLogger):
            logger.log_record(folder, record.metrics)
        elif isinstance(logger, WandbRunLogger):
            misclassified = list(zip(images, captions))
            log_run(
                logger.experiment,
                folder,
                record.metrics,
                record.predictions,
                classes,
                split,
                misclassified,
                logger.log_checkpoint,
            )
    if verbose:
        print_result(Console(), record.metrics, folder, pictures)


@contextmanager
def ending(loggers: Sequence[Logger]) -> Iterator[None]:
    """Context at whose end the loggers of a run are closed, with the status `failed` after an error."""
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
            if isinstance(logger, WandbRunLogger):
                logger.close(failed=status == "failed")


@contextmanager
def explained(resume: str | None) -> Iterator[None]:
    """Context that converts Lightning's stops and errors; errors of a resumed run name that run."""
    prefix = "" if resume is None else f"resume={resume}: "
    try:
        yield
    except SystemExit as stop:
        if stop.code not in (None, 0, 1):  # submitit, after it requeued the job
            raise
        raise KeyboardInterrupt from stop  # Lightning raises SystemExit after Ctrl-C and SIGTERM
    except MisconfigurationException as error:
        raise UserError(f"{prefix}trainer: {error}") from error
    except UserError as error:
        if not prefix:
            raise
        raise UserError(f"{prefix}{error}") from error


def _corrupted(datamodule: ExpressionDataModule, split: str, names: Iterable[str]) -> dict[str, np.ndarray]:
    """First image of a split, clean and then in all severities, `(6, H, W, C)`, by corruption."""
    levels = {
        name: [None, *(corruption(name, severity, datamodule.image_size) for severity in SEVERITIES)]
        for name in names
        if name != "clean"
    }
    return {
        name: np.concatenate([datamodule.dataset(split, corruption=level).pixels([0]) for level in severities])
        for name, severities in levels.items()
    }


def _images_of(record: RunRecord, split: str, datamodule: ExpressionDataModule, rows: np.ndarray) -> np.ndarray:
    """Images, uint8 `(N, H, W, C)`, of rows of a split's predictions, without augmentation."""
    predicted = record.predictions.loc[record.predictions["split"] == split, "id"].to_numpy()
    position = {name: index for index, name in enumerate(datamodule.ids(split))}
    return datamodule.dataset(split).pixels([position[name] for name in predicted[rows]])


def score_elsewhere(
    elsewhere: Mapping[str, DictConfig],
    trainer: pl.Trainer,
    inference: Inference,
    trained: TrainedNet,
    datamodule: ExpressionDataModule,
) -> dict[str, Any]:
    """Scores of a network on the test splits of other data sets than `datamodule`, with its preprocessing.

    Returns:
        Results of `score_other_data` by name. A data set that is not available or cannot be compared has the reason
        under `missing` instead.
    """
    training_data = datamodule if datamodule.dataset_name == trained.description["protocol"]["dataset"] else None
    scores: dict[str, Any] = {}
    for name, node in elsewhere.items():
        if get_class(node._target_) is type(datamodule):
            log.info("elsewhere.%s is skipped: it is the data set that is already scored.", name)
            continue
        try:
            other: ExpressionDataModule = build(node, **trained.description["preprocessing"])
            other.setup()
            scores[name] = score_other_data(trainer, inference, other, trained.classes, training_data)
        except UserError as error:
            reason = str(error).replace("data.root", f"elsewhere.{name}.root")
            log.warning("elsewhere.%s is skipped: %s", name, reason)
            scores[name] = {"missing": reason}
    return scores
