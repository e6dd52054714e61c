"""The order of training: which rows form which batch, as a pure function of seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from fer_lightning.errors import UserError


class EpochBatches(Sampler[list[int]]):
    """Batches of one training epoch.

    The global order depends on (seed, epoch) only. With several processes each takes every `world_size`-th index of it;
    the order is filled up from its own beginning so that all processes take the same number of steps.

    Args:
        size: Number of training rows.
        batch_size: Rows per batch and process. An incomplete last batch is dropped unless it is the only one.
        seed: Seed of the run.
        epoch: Current epoch.
        weights: Probability of each row `(size,)` to be drawn with replacement; None for a plain shuffle.
        rank: Number of this process.
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
    """All rows of an evaluation split once and in order.

    With several processes each takes every `world_size`-th row. No row is repeated, so some have one more than others.

    Args:
        size: Number of rows.
        batch_size: Rows per batch and process.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        UserError: A process would have nothing to do, and the others would wait for it forever.
    """

    def __init__(self, size: int, batch_size: int, rank: int, world_size: int) -> None:
        if size < world_size:
            raise UserError(f"{world_size} processes cannot share {size} evaluation images: use fewer trainer.devices.")
        self.indices = np.arange(rank, size, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield self.indices[start : start + self.batch_size].tolist()


def balancing_weights(labels: np.ndarray) -> np.ndarray:
    """Weights `(N,)` with which every class present is drawn equally often."""
    counts = np.bincount(labels)
    return 1.0 / counts[labels]
