"""A picture that a callback draws while a run trains."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from fer_lightning.report.figures import save_figures


def show_picture(trainer: pl.Trainer, folder: Path, name: str, key: str, figure: Figure) -> None:
    """Saves a picture in the run folder and logs it where the run is logged.

    Args:
        trainer: Of the run.
        folder: Of the run.
        name: File name in its `figures/`, without ending.
        key: What loggers call the picture.
        figure: The picture.
    """
    [path] = save_figures(folder / "figures", {name: figure})
    step = trainer.fit_loop.total_batch_idx
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)], step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(key, figure, step)
