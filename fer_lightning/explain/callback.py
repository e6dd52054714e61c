"""Callback that draws Grad-CAM during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.explain.figures import draw_strips, faces_strip, heat_strip, predicted_caption, target_caption
from fer_lightning.explain.gradcam import WithSide, differentiable, gradcam, ordinary
from fer_lightning.training.callbacks import show_picture
from fer_lightning.training.classifier import hard


class GradCAMPanels(pl.Callback):
    """Draws Grad-CAM of a few validation faces every few epochs, to `figures/gradcam_epoch_<number>.png`.

    The faces are the same in every epoch: the first ones of each class. The weights are those that validation scores,
    thus the averaged ones with `callbacks=ema`. W&B and TensorBoard log the panels as `explain/gradcam`. Training is
    not affected: no random number is drawn, and only a copy of the network is differentiated.

    Args:
        folder: Run folder.
        every_n_epochs: Number of epochs between two panels.
        faces: Number of faces.

    Raises:
        UserError: `every_n_epochs` or `faces` is below 1.
    """

    def __init__(self, folder: str, every_n_epochs: int = 5, faces: int = 8) -> None:
        for option, value in {"every_n_epochs": every_n_epochs, "faces": faces}.items():
            if value < 1:
                raise UserError(f"callbacks.gradcam.{option} must be at least 1; got {value}.")
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.faces = faces

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Draws before the first batch, since after the last one averaged weights are no longer in use."""
        due = not trainer.sanity_checking and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and batch_idx == 0 and trainer.is_global_zero:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        dataset = data.dataset("val")
        rows = first_of_each_class(hard(dataset.targets).numpy(), self.faces)
        image, *side, targets = dataset.__getitems__(rows)
        image, auxiliary = image.to(pl_module.device), side[0].to(pl_module.device) if side else None
        net = cast(nn.Module, pl_module.net)
        with differentiable(net) as network, torch.no_grad():  # in float32, whatever the precision of training
            probabilities = WithSide(network, auxiliary)(ordinary(image)).softmax(1).cpu().numpy()
        predicted, target = probabilities.argmax(1), hard(targets).numpy()
        faces = dataset.pixels(rows)
        classes = data.label_set.classes
        epoch = trainer.current_epoch + 1
        figure = draw_strips(
            [
                faces_strip(faces, [f"true: {classes[index]}" for index in target]),
                heat_strip(
                    "predicted class",
                    faces,
                    gradcam(net, image, torch.from_numpy(predicted), auxiliary),
                    predicted_caption(probabilities, classes),
                ),
                heat_strip(
                    "true class",
                    faces,
                    gradcam(net, image, torch.from_numpy(target), auxiliary),
                    target_caption(probabilities, target, classes),
                ),
            ],
            f"Grad-CAM after epoch {epoch}",
        )
        show_picture(trainer, self.folder, f"gradcam_epoch_{epoch:03d}", "explain/gradcam", figure)


def first_of_each_class(labels: np.ndarray, count: int) -> list[int]:
    """The first row of every class of labels (N,), then the second of every class and so on, at most `count` rows."""
    turns = np.zeros(len(labels), np.int64)
    for index in np.unique(labels):
        rows = np.flatnonzero(labels == index)
        turns[rows] = np.arange(len(rows))
    return np.lexsort((labels, turns))[:count].tolist()
