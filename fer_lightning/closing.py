"""What every finished run ends with: pictures drawn from its record, tables in the terminal, and all of it in W&B."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger
from rich.console import Console

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.evaluation.confident_errors import most_confident_errors
from fer_lightning.evaluation.predictions import predicted_arrays
from fer_lightning.report.contact_sheet import draw_contact_sheet, error_caption
from fer_lightning.report.curves import draw_curves
from fer_lightning.report.figures import draw_predictions, save_figures
from fer_lightning.report.result_table import print_result
from fer_lightning.training.record import RunRecord
from fer_lightning.training.wandb_logger import WandbRunLogger, close_wandb
from fer_lightning.training.wandb_report import log_run

SHOWN_ERRORS = 24


def show_record(
    record: RunRecord, split: str, datamodule: ExpressionDataModule, folder: Path, loggers: Sequence[Logger]
) -> None:
    """Draws a finished run, prints its tables and logs both.

    Args:
        record: Its record, written to `folder`.
        split: The split whose predictions are drawn.
        datamodule: Where the images of that split lie.
        folder: The run folder.
        loggers: Loggers of the run.
    """
    classes = record.metrics["protocol"]["classes"]
    targets, probabilities = predicted_arrays(record.predictions, classes, split)
    figures = draw_predictions(targets, probabilities, classes, split)
    if not record.history.empty:
        figures["curves"] = draw_curves(record.history, record.metrics["best_epoch"])
    errors = most_confident_errors(targets, probabilities, SHOWN_ERRORS)
    images = _images_of(record, split, datamodule, errors)
    captions = [error_caption(int(targets[row]), probabilities[row], classes) for row in errors]
    if captions:
        figures["errors"] = _error_sheet(images, captions, f"{datamodule.dataset_name}, {split}")
    pictures = save_figures(folder / "figures", figures)
    for logger in loggers:
        if isinstance(logger, WandbRunLogger):
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
    print_result(Console(), record.metrics, folder, pictures)


@contextmanager
def ending(loggers: Sequence[Logger]) -> Iterator[None]:
    """Ends what the loggers of a run have open when the block is left, as failed where an error leaves it."""
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
        close_wandb(loggers, failed=status == "failed")


def _error_sheet(images: np.ndarray, captions: Sequence[str], told: str) -> Figure:
    return draw_contact_sheet(images, captions, 8, f"{told}: the most confident errors")


def _images_of(record: RunRecord, split: str, datamodule: ExpressionDataModule, rows: np.ndarray) -> np.ndarray:
    """Images uint8 `(N, H, W, C)` of some rows of a split's predictions, not augmented."""
    predicted = record.predictions.loc[record.predictions["split"] == split, "id"].to_numpy()
    position = {name: index for index, name in enumerate(datamodule.ids(split))}
    return datamodule.dataset(split).pixels([position[name] for name in predicted[rows]])
