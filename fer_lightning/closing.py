"""What every finished run ends with: pictures drawn from its record, and tables in the terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.evaluation.confident_errors import most_confident_errors
from fer_lightning.evaluation.predictions import predicted_arrays
from fer_lightning.report.contact_sheet import draw_misclassified
from fer_lightning.report.curves import draw_curves
from fer_lightning.report.figures import draw_predictions, save_figures
from fer_lightning.report.result_table import print_result
from fer_lightning.training.record import RunRecord

SHOWN_ERRORS = 24


def draw_record(record: RunRecord, split: str, datamodule: ExpressionDataModule) -> dict[str, Figure]:
    """Draws a finished run.

    Args:
        record: Its record.
        split: The split whose predictions are drawn.
        datamodule: Where the images of that split lie.

    Returns:
        Figures by file name without ending.
    """
    classes = record.metrics["protocol"]["classes"]
    targets, probabilities = predicted_arrays(record.predictions, classes, split)
    figures = draw_predictions(targets, probabilities, classes, split)
    errors = most_confident_errors(targets, probabilities, SHOWN_ERRORS)
    if len(errors):
        images = images_of(record, split, datamodule, errors)
        title = f"{datamodule.name}, {split}: the most confident errors"
        figures["errors"] = draw_misclassified(images, targets[errors], probabilities[errors], classes, 8, title)
    if not record.history.empty:
        figures["curves"] = draw_curves(record.history, record.metrics["best_epoch"])
    return figures


def images_of(record: RunRecord, split: str, datamodule: ExpressionDataModule, rows: np.ndarray) -> np.ndarray:
    """Unaugmented images uint8 `(N, H, W, C)` of some rows of a split's predictions."""
    predicted = record.predictions.loc[record.predictions["split"] == split, "id"].to_numpy()
    position = {name: index for index, name in enumerate(datamodule.ids(split))}
    return datamodule.dataset(split).pixels([position[name] for name in predicted[rows]])


def show_record(record: RunRecord, split: str, datamodule: ExpressionDataModule, folder: Path) -> None:
    """Writes the pictures of a finished run and prints its tables."""
    pictures = save_figures(folder / "figures", draw_record(record, split, datamodule))
    print_result(Console(), record.metrics, folder, pictures)
