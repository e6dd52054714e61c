"""Data set of one split, augmented and normalised batch by batch, and samplers whose order follows seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.auxiliary import SideVectors, mirror
from fer_lightning.data.batch_transforms import BatchAugmentation
from fer_lightning.data.store import Images
from fer_lightning.errors import UserError
from fer_lightning.results.protocol import AFFECT

_COPIED = 4096  # images that are copied to a device at once


class DeviceImages:
    """All images of a store as one uint8 tensor on the training device, where batches are gathered and augmented.

    Args:
        images: Store of the images.
        count: Number of its rows.
        device: Device of the tensor.
    """

    def __init__(self, images: Images, count: int, device: torch.device) -> None:
        first = images.batch(np.arange(1))
        self.tensor = torch.empty((count, *first.shape[1:]), dtype=torch.uint8, device=device)
        for start in range(0, count, _COPIED):
            rows = np.arange(start, min(start + _COPIED, count))
            self.tensor[start : start + len(rows)] = torch.from_numpy(images.batch(rows))

    def batch(self, rows: np.ndarray) -> np.ndarray:
        return self.tensor[torch.from_numpy(rows).to(self.tensor.device)].cpu().numpy()


class ExpressionDataset(Dataset):
    """Images and targets of one split.

    Whole batches are fetched at once (`__getitems__`), with one gather from the store and one normalisation per batch,
    on the device of the store.

    Args:
        images: Store of the images.
        rows: Row numbers of this split in the store `(N,)`.
        targets: Class indices `(N,)` int64 or label distributions `(N, K)` float32.
        augmentation: Augmentation of training images; None for evaluation.
        mean: Mean of the pixel values in 0..1, one value or one per channel.
        std: Standard deviation of the pixel values in 0..1, one value or one per channel.
        side: Auxiliary inputs of the rows; None where the network takes images alone.
    """

    def __init__(
        self,
        images: Images,
        rows: np.ndarray,
        targets: np.ndarray,
        augmentation: Augmentation | BatchAugmentation | None,
        mean: Sequence[float],
        std: Sequence[float],
        side: SideVectors | None = None,
    ) -> None:
        self.images = images
        self.rows = rows
        self.device = images.tensor.device if isinstance(images, DeviceImages) else torch.device("cpu")
        self.targets = torch.from_numpy(targets).to(self.device)
        self.augmentation = augmentation
        self.side = side
        self.affect: Tensor | None = None  # see `with_affect`
        self._mean = torch.tensor(mean, dtype=torch.float32).mul(255).view(1, -1, 1, 1).to(self.device)
        self._scale = torch.tensor(std, dtype=torch.float32).mul(255).reciprocal().view(1, -1, 1, 1).to(self.device)

    def __len__(self) -> int:
        return len(self.rows)

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        """Images after augmentation, uint8 `(B, H, W, C)`."""
        return self._augmented(self.rows[np.asarray(indices)])[0].round().byte().permute(0, 2, 3, 1).cpu().numpy()

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(part[0] for part in self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Returns the batch `(image (B, C, H, W) float32, target)`, or `(image, side (B, S) float32, target)`."""
        rows, places = self.rows[np.asarray(indices)], self._on_device(np.asarray(indices))
        pixels, mirrored = self._augmented(rows)
        image = pixels.sub_(self._mean).mul_(self._scale)
        targets: Any = self.targets[places]
        if self.affect is not None:
            targets = (targets, self.affect[places])
        if self.side is None:
            return image, targets
        vectors = self.side.vectors[rows]
        vectors = np.where(mirrored[:, None], mirror(vectors, self.side.kind), vectors)
        return image, torch.from_numpy(vectors).to(self.device), targets

    def _augmented(self, rows: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Images float32 `(B, C, H, W)` from 0 to 255, and which of them are mirrored, bool `(B,)`."""
        mirrored = np.zeros(len(rows), bool)
        if isinstance(self.augmentation, Augmentation):
            pixels = self.images.batch(rows)
            if self.side is None:
                pixels = self.augmentation(pixels, rows)
            else:
                pixels, mirrored = self.augmentation.track_mirroring(pixels, rows)
            return _channels_first(torch.from_numpy(pixels).to(self.device)), mirrored
        places = self._on_device(rows)
        if isinstance(self.images, DeviceImages):
            images = self.images.tensor[places]
        else:
            images = torch.from_numpy(self.images.batch(rows))
        if self.augmentation is None:
            return _channels_first(images), mirrored
        if self.side is not None:
            mirrored = self.augmentation.mirrored(places).cpu().numpy()
        return self.augmentation(images, places), mirrored

    def _on_device(self, rows: np.ndarray) -> Tensor:
        # Without waiting for the device, which is still busy with the batch before.
        return torch.from_numpy(rows).to(self.device, non_blocking=True)


def _channels_first(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float()


class EpochBatches(Sampler[list[int]]):
    """Batches of one training epoch.

    The global order depends on (seed, epoch) only. With several processes, each takes every `world_size`-th index of
    it; the order is padded from its beginning so that all processes take the same number of steps.

    Args:
        size: Number of training rows.
        batch_size: Rows per batch and process. An incomplete last batch is dropped unless it is the only one.
        seed: Seed of the run.
        epoch: Current epoch.
        weights: Sampling weight of each row `(size,)` for draws with replacement; None for a shuffle.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        epoch: int,
        weights: np.ndarray | None,
        rank: int,
        world_size: int,
    ) -> None:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(size) if weights is None else rng.choice(size, size, p=weights / weights.sum())
        order = np.resize(order, -(-size // world_size) * world_size)
        self.indices = order[rank::world_size]
        self.batch_size = batch_size

    def __len__(self) -> int:
        return max(1, len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(len(self)):
            yield self.indices[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()


class OrderedBatches(Sampler[list[int]]):
    """Batches of all rows of an evaluation split, once and in order.

    With several processes, each takes every `world_size`-th row. No row is repeated, so numbers differ by one at most.

    Args:
        size: Number of rows.
        batch_size: Rows per batch and process.
        rank: Rank of this process.
        world_size: Number of processes.

    Raises:
        UserError: There are fewer rows than processes, so that the others would wait forever for one without rows.
    """

    def __init__(self, size: int, batch_size: int, rank: int, world_size: int) -> None:
        if size < world_size:
            raise UserError(f"trainer.devices must be at most the {size} evaluation images; got {world_size}.")
        self.indices = np.arange(rank, size, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield self.indices[start : start + self.batch_size].tolist()


def with_affect(loader: DataLoader, frame: pd.DataFrame, split: str) -> DataLoader:
    """Makes the loader of a split yield pairs as targets, if the data has valence and arousal, and returns it.

    A pair is the usual target and float32 `(B, 2)`, NaN where not annotated.
    """
    if AFFECT[0] in frame:
        dataset: Any = loader.dataset
        values = frame.loc[frame["split"] == split, [*AFFECT]].to_numpy(np.float32)
        dataset.affect = torch.tensor(values, device=dataset.device)
    return loader


def balancing_weights(labels: np.ndarray) -> np.ndarray:
    """Sampling weights `(N,)` that draw every class equally often."""
    counts = np.bincount(labels)
    return 1.0 / counts[labels]
