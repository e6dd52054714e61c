"""Probabilities of a trained network over a loader, on whatever devices the trainer has."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError


class Inference(pl.LightningModule):
    """Runs a network without anything that only training needs.

    Args:
        net: Maps images `(B, C, H, W)`, and side vectors `(B, S)` where the data has them, to logits `(B, K)`.
        channels_last: Keep activations with the channels innermost.
        flip: Average the probabilities of each image and its mirror image.
    """

    def __init__(self, net: nn.Module, channels_last: bool, flip: bool) -> None:
        super().__init__()
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=self._memory_format)
        self.flip = flip

    def predict_step(self, batch: tuple[Tensor, ...], batch_index: int) -> tuple[Tensor, Tensor]:
        """Probabilities `(B, K)` and the targets as they came."""
        image, *side, target = batch
        image = image.contiguous(memory_format=self._memory_format)
        probabilities = self.net(image, *side).float().softmax(dim=1)
        if self.flip:
            if side:
                raise UserError("flip=true would pair mirrored images with side vectors that are not: use flip=false.")
            mirrored = self.net(image.flip(-1)).float().softmax(dim=1)
            probabilities = (probabilities + mirrored) / 2
        return probabilities, target
