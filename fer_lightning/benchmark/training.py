"""The training loop that a researcher writes by hand: the yardstick for the speed of `fer train`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import perf_counter

import albumentations
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset

log = logging.getLogger(__name__)


class ArrayDataset(Dataset):
    """Images in memory, augmented one by one.

    Args:
        images: uint8 `(N, H, W, C)`.
        targets: Class indices `(N,)`.
        pipeline: Albumentations pipeline of a single image.
        mean: Mean of pixel values in 0..1.
        std: Standard deviation of pixel values in 0..1.
    """

    def __init__(
        self, images: np.ndarray, targets: np.ndarray, pipeline: albumentations.Compose, mean: float, std: float
    ) -> None:
        self.images = images
        self.targets = targets
        self.pipeline = pipeline
        self.mean = mean
        self.std = std

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.pipeline(image=self.images[index])["image"]
        pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std, int(self.targets[index])


def plain_epoch(
    net: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    loader: Iterable[tuple[Tensor, Tensor]],
    batches: int,
    bf16: bool,
    clip: float | None,
) -> float:
    """Trains for some batches in a bare loop that keeps the mean loss and the accuracy, as scripts do.

    Args:
        net: In channels-last layout.
        optimizer: Of its parameters.
        scheduler: Stepped after every batch.
        loader: Yields images and class indices.
        batches: Number of steps.
        bf16: Compute forward under bfloat16 autocast.
        clip: Largest norm of the gradient; None leaves it.

    Returns:
        Seconds from asking for the first batch to the end of the last step.
    """
    net.train()
    total_loss, correct, seen = 0.0, 0, 0
    started = perf_counter()
    for _, (image, target) in zip(range(batches), loader):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = net(image.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        scheduler.step()
        total_loss += loss.item() * len(target)
        correct += int((logits.argmax(dim=1) == target).sum())
        seen += len(target)
    seconds = perf_counter() - started
    log.info("plain loop: loss %.3f, accuracy %.3f", total_loss / seen, correct / seen)
    return seconds
