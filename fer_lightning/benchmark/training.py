"""Speed of `fer train` compared with a hand-written training loop, and of data loading compared with the network.

On the CPU with one thread, it is measured in processor time, which other programs of the machine affect little.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import albumentations
import cv2
import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

from fer_lightning.data.batch_transforms import BatchTransforms
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.training.trainer_options import keep_freed_memory

log = logging.getLogger(__name__)


class ArrayDataset(Dataset):
    """Images in memory, which are augmented one by one.

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


@dataclass(frozen=True)
class Recipe:
    """Training that `fer train` and the plain loop share.

    Attributes:
        datamodule: Data module after its `setup`.
        net: Function that builds the network, in its memory layout and always with the same weights.
        classifier: Function that builds the network with its procedure, as `fer train` does.
        trainer: Function that builds a trainer of one epoch of `batches` steps with a callback.
        optimizer: Function that builds the plain loop's optimizer from the parameters.
        scheduler: Function that builds the schedule, which is stepped after every batch, from an optimizer, the number
            of all steps and that of an epoch.
        batches: Number of steps of each measurement.
        bf16: Whether the plain loop uses bfloat16 autocast in its forward pass.
        clip: Largest norm of the gradient; None does not clip it.
        device: Device of the training.
        workers: Worker processes of the plain loop.
    """

    datamodule: ExpressionDataModule
    net: Callable[[], nn.Module]
    classifier: Callable[[], pl.LightningModule]
    trainer: Callable[[pl.Callback], pl.Trainer]
    optimizer: Callable[..., Optimizer]
    scheduler: Callable[[Optimizer, int, int], LRScheduler]
    batches: int
    bf16: bool
    clip: float | None
    device: torch.device
    workers: int

    def seconds(self) -> float:
        """Time of a clock, when all work so far is done: of this process on one thread of the CPU, else of the wall."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return process_time() if self.on_one_core else perf_counter()

    @property
    def on_one_core(self) -> bool:
        """Whether all work is done by one thread of this process."""
        return self.device.type == "cpu" and torch.get_num_threads() == 1 and not self.workers

    def apart(self, measure: Callable[..., float], *arguments: object) -> float:
        """Result of a function of the recipe, on one core in a process of its own.

        Settings of the memory management that `fer train` makes then do not affect the plain loop.
        """
        if not self.on_one_core:
            return measure(self, *arguments)
        fork = multiprocessing.get_context("fork")
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=lambda: sender.send(measure(self, *arguments)))
        process.start()
        sender.close()
        try:
            return float(receiver.recv())
        except EOFError:
            raise RuntimeError("A measurement failed; its process has printed why.") from None
        finally:
            process.join()


class _Clock(pl.Callback):
    """Seconds of the last training epoch."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.seconds = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = -self._recipe.seconds()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds += self._recipe.seconds()


def training_rates(recipe: Recipe, rounds: int) -> pd.DataFrame:
    """Rates of training with the trainer of `fer train` and with the plain loop, of the network and of the loader.

    Every round times each of them on the same number of batches, one after the other, so that a noisy machine affects
    all alike.

    Args:
        recipe: Training that is timed.
        rounds: Number of rounds.

    Returns:
        Images per second, one row per round with one column for each.

    Raises:
        UserError: An epoch has too few batches.
    """
    data = recipe.datamodule
    images, available = recipe.batches * data.batch_size, data.protocol.counts["train"]
    if images > available:
        most = available // data.batch_size
        raise UserError(f"training.batches must be at most {most}, the batches of an epoch; got {recipe.batches}.")
    rows = []
    for number in range(rounds):
        seconds = {
            "fer train": recipe.apart(_trainer_seconds),
            "plain loop": recipe.apart(_loop_seconds, _plain_loader(data, recipe.workers)),
            "net alone": recipe.apart(_net_seconds),
            "loader alone": recipe.apart(_loader_seconds),
        }
        rows.append({name: images / value for name, value in seconds.items()})
        log.info("round %d/%d: %s images/s", number + 1, rounds, {name: round(rate) for name, rate in rows[-1].items()})
    return pd.DataFrame(rows)


def _trainer_seconds(recipe: Recipe) -> float:
    clock = _Clock(recipe)
    recipe.trainer(clock).fit(recipe.classifier(), datamodule=recipe.datamodule)
    return clock.seconds


def _loop_seconds(recipe: Recipe, loader: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Seconds of a bare training loop that tracks the mean loss and the accuracy, as scripts do."""
    net = recipe.net().to(recipe.device)
    optimizer = recipe.optimizer(net.parameters())
    scheduler = recipe.scheduler(optimizer, recipe.batches, recipe.batches)
    net.train()
    total_loss, correct, seen = 0.0, 0, 0
    started = recipe.seconds()
    for _, (image, target) in zip(range(recipe.batches), loader):
        image, target = (part.to(recipe.device, non_blocking=True) for part in (image, target))
        with torch.autocast(recipe.device.type, torch.bfloat16, enabled=recipe.bf16):
            logits = net(image.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimizer.step()
        scheduler.step()
        total_loss += loss.item() * len(target)
        correct += int((logits.argmax(dim=1) == target).sum())
        seen += len(target)
    seconds = recipe.seconds() - started
    log.info("plain loop: loss %.3f, accuracy %.3f", total_loss / seen, correct / seen)
    return seconds


def _net_seconds(recipe: Recipe) -> float:
    """Seconds of the loop without loading, with the memory management of `fer train`."""
    keep_freed_memory()
    return _loop_seconds(recipe, [_batch(recipe)] * recipe.batches)


def _plain_loader(data: ExpressionDataModule, workers: int) -> DataLoader:
    source = data.dataset("train")
    pixels = source.pixels(range(len(source)))
    pipeline = albumentations.Compose(albumentations_of(data.transforms))
    dataset = ArrayDataset(pixels, source.targets.numpy(), pipeline, data.mean[0], data.std[0])
    return DataLoader(
        dataset,
        data.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def albumentations_of(
    transforms: BatchTransforms | Sequence[albumentations.BasicTransform],
) -> list[albumentations.BasicTransform]:
    """The same augmentation as albumentations transforms, with which scripts augment image by image."""
    if not isinstance(transforms, BatchTransforms):
        return list(transforms)
    options = transforms
    return [
        albumentations.HorizontalFlip(p=0.0 if options.mirror == "none" else 0.5),
        albumentations.Affine(
            rotate=(-options.rotate, options.rotate),
            scale=tuple(options.scale),
            shear=(-options.shear, options.shear),
            translate_percent=(-options.translate, options.translate),
            border_mode=cv2.BORDER_REPLICATE if options.border == "edge" else cv2.BORDER_REFLECT,
            p=options.p_geometry,
        ),
        albumentations.RandomBrightnessContrast(
            options.brightness, options.contrast, brightness_by_max=False, p=options.p_light
        ),
        albumentations.GaussNoise(std_range=tuple(options.noise), p=options.p_noise),
        albumentations.CoarseDropout(
            num_holes_range=(1, 1),
            hole_height_range=tuple(options.erase),
            hole_width_range=tuple(options.erase),
            fill="random_uniform",
            p=options.p_erase,
        ),
    ]


def _batch(recipe: Recipe) -> tuple[Tensor, Tensor]:
    """One batch, which the network trains on repeatedly to exclude the time of data loading."""
    data = recipe.datamodule
    image, target = next(iter(data.eval_dataloader("train")))
    return image[: data.batch_size].to(recipe.device), target[: data.batch_size].to(recipe.device)


def _loader_seconds(recipe: Recipe) -> float:
    started = recipe.seconds()
    for _ in zip(range(recipe.batches), recipe.datamodule.train_dataloader()):
        pass
    return recipe.seconds() - started
