from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import albumentations
import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.utils.data import DataLoader

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.dataset import EpochBatches, ExpressionDataset, OrderedBatches, balancing_weights
from fer_lightning.data.samples import ImageFiles
from fer_lightning.data.store import pack
from fer_lightning.errors import UserError


class InMemory:
    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def batch(self, rows: np.ndarray) -> np.ndarray:
        return self.pixels[rows]


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)

ROWS = np.array([30, 2, 17, 5, 39])

LABELS = np.array([0, 1, 2, 1, 0])

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def moving() -> list[albumentations.BasicTransform]:
    return [albumentations.Affine(rotate=(-20, 20), p=0.9), albumentations.GaussNoise(p=0.5)]


def as_it_is(batch: object) -> object:
    return batch


def test_batch_is_the_normalised_image_channels_first() -> None:
    dataset = ExpressionDataset(InMemory(PIXELS), ROWS, LABELS, None, MEAN, STD)
    images, targets = dataset.__getitems__([3, 0])
    expected = (PIXELS[[5, 30]] / 255 - np.array(MEAN)) / np.array(STD)
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=1e-5)
    assert targets.tolist() == [1, 0]
    assert len(dataset) == 5


def test_single_item_is_that_of_the_batch() -> None:
    dataset = ExpressionDataset(InMemory(PIXELS), ROWS, LABELS, None, [0.5], [0.25])
    image, target = dataset[2]
    torch.testing.assert_close(image, dataset.__getitems__([0, 2])[0][1])
    assert target.item() == 2


def test_whole_numbers_normalise_too() -> None:
    images, _ = ExpressionDataset(InMemory(PIXELS), ROWS, LABELS, None, [0], [1]).__getitems__([0])
    np.testing.assert_allclose(images[0].numpy(), PIXELS[30].transpose(2, 0, 1) / 255, atol=1e-6)


def test_distributions_are_targets() -> None:
    votes = np.random.default_rng(0).dirichlet([1, 1, 1], 5).astype(np.float32)
    _, targets = ExpressionDataset(InMemory(PIXELS), ROWS, votes, None, MEAN, STD).__getitems__([4, 1])
    np.testing.assert_array_equal(targets.numpy(), votes[[4, 1]])


def test_pixels_are_augmented_by_their_row_in_the_store() -> None:
    dataset = ExpressionDataset(InMemory(PIXELS), ROWS, LABELS, Augmentation(moving(), 0, 1), MEAN, STD)
    expected = Augmentation(moving(), 0, 1)(PIXELS[[39, 2]], np.array([39, 2]))
    np.testing.assert_array_equal(dataset.pixels([4, 1]), expected)
    assert (expected != PIXELS[[39, 2]]).any()


def test_workers_load_what_one_process_loads(tmp_path: Path, write_image: Callable[..., None]) -> None:
    names = tuple(f"{row}.png" for row in range(40))
    for row, name in enumerate(names):
        write_image(tmp_path / name, level=5 * row, side=16)
    images, _ = pack(ImageFiles(tmp_path, names), tmp_path / "store", 16, 1)
    dataset = ExpressionDataset(images, np.arange(40), np.arange(40), Augmentation(moving(), 0, 1), [0.5], [0.25])
    batches = EpochBatches(40, 8, seed=0, epoch=1, weights=None, rank=0, world_size=1)
    alone = list(DataLoader(dataset, batch_sampler=batches, collate_fn=as_it_is))
    copy = pickle.loads(pickle.dumps(dataset))  # what a worker gets that is spawned instead of forked
    for other in (dataset, copy):
        shared = list(DataLoader(other, batch_sampler=batches, collate_fn=as_it_is, num_workers=2))
        assert len(alone) == len(shared) == 5
        for one, two in zip(alone, shared):
            torch.testing.assert_close(one, two, rtol=0, atol=0)


def shuffled(size: int, batch_size: int, epoch: int = 0, seed: int = 0, rank: int = 0, world: int = 1) -> EpochBatches:
    return EpochBatches(size, batch_size, seed, epoch, None, rank, world)


class TestEpochBatches:
    @pytest.mark.parametrize("world", [1, 2, 3, 4])
    def test_ranks_agree_on_the_number_of_batches_and_leave_no_row_out(self, world: int) -> None:
        ranks = [shuffled(103, 8, rank=rank, world=world) for rank in range(world)]
        assert len({len(batches) for batches in ranks}) == 1
        drawn = np.concatenate([batches.indices for batches in ranks])
        assert set(drawn.tolist()) == set(range(103))
        assert len(drawn) < 103 + world

    def test_one_process_sees_every_row_once(self) -> None:
        assert sorted(row for batch in shuffled(96, 8) for row in batch) == list(range(96))

    def test_ranks_together_follow_the_order_of_one_process(self) -> None:
        """So the global batches of 2 x 4 rows are those of one process with batches of 8."""
        alone = shuffled(64, 8)
        ranks = [shuffled(64, 4, rank=rank, world=2) for rank in range(2)]
        for whole, first, second in zip(alone, *ranks):
            assert sorted(whole) == sorted(first + second)

    @pytest.mark.parametrize(
        ("size", "batch_size", "sizes"),
        [(10, 4, [4, 4]), (8, 4, [4, 4]), (3, 4, [3]), (4, 4, [4]), (1, 4, [1])],
    )
    def test_incomplete_last_batch_is_dropped_unless_it_is_the_only_one(
        self, size: int, batch_size: int, sizes: list[int]
    ) -> None:
        batches = shuffled(size, batch_size)
        assert [len(batch) for batch in batches] == sizes
        assert len(batches) == len(sizes)

    def test_more_processes_than_rows(self) -> None:
        assert [list(shuffled(2, 4, rank=rank, world=5)) != [[]] for rank in range(5)] == [True] * 5

    def test_order_is_a_function_of_seed_and_epoch(self) -> None:
        assert list(shuffled(64, 8, epoch=3, seed=1)) == list(shuffled(64, 8, epoch=3, seed=1))
        orders = {tuple(shuffled(64, 8, epoch=epoch, seed=seed).indices) for epoch in range(4) for seed in range(4)}
        assert len(orders) == 16

    def test_can_be_read_twice(self) -> None:
        batches = shuffled(64, 8)
        assert list(batches) == list(batches)

    def test_indices_are_plain_integers(self) -> None:
        assert type(next(iter(shuffled(8, 4)))[0]) is int


class TestBalanced:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [5000, 800, 150, 50]))

    def ranks(self, world: int, epoch: int = 0) -> list[EpochBatches]:
        weights = balancing_weights(self.labels)
        return [EpochBatches(len(self.labels), 50, 0, epoch, weights, rank, world) for rank in range(world)]

    def test_weights_of_each_class_sum_to_the_same(self) -> None:
        sums = np.bincount(self.labels, weights=balancing_weights(self.labels))
        np.testing.assert_allclose(sums, 1.0)

    def test_absent_classes_are_no_obstacle(self) -> None:
        np.testing.assert_allclose(balancing_weights(np.array([0, 3, 3])), [1, 0.5, 0.5])

    @pytest.mark.parametrize("world", [1, 3])
    def test_every_class_is_drawn_equally_often_on_every_rank(self, world: int) -> None:
        for batches in self.ranks(world):
            drawn = self.labels[np.concatenate(list(batches))]
            assert chisquare(np.bincount(drawn)).pvalue > 0.001

    def test_rows_of_one_class_are_drawn_equally_often(self) -> None:
        drawn = np.concatenate([self.ranks(1, epoch)[0].indices for epoch in range(5)])
        rare = np.flatnonzero(self.labels == 3)
        assert chisquare(np.bincount(drawn, minlength=len(self.labels))[rare]).pvalue > 0.001

    def test_ranks_share_one_draw(self) -> None:
        """Drawn rank by rank, the ranks would repeat each other or depend on their number."""
        first, second = self.ranks(2)
        together = np.stack([first.indices, second.indices], axis=1).ravel()
        np.testing.assert_array_equal(together, self.ranks(1)[0].indices)
        assert len(first) == len(second)


class TestOrderedBatches:
    @pytest.mark.parametrize(
        ("size", "world"), [(1, 1), (3, 1), (8, 1), (103, 1), (3, 2), (16, 2), (17, 2), (3, 3), (103, 3)]
    )
    def test_every_row_once_over_all_ranks(self, size: int, world: int) -> None:
        ranks = [OrderedBatches(size, 8, rank, world) for rank in range(world)]
        rows = [row for batches in ranks for batch in batches for row in batch]
        assert sorted(rows) == list(range(size))
        for batches in ranks:
            assert [row for batch in batches for row in batch] == batches.indices.tolist()
            assert len(list(batches)) == len(batches) >= 1
            assert all(0 < len(batch) <= 8 for batch in batches)

    def test_one_process_keeps_the_order(self) -> None:
        assert list(OrderedBatches(5, 2, 0, 1)) == [[0, 1], [2, 3], [4]]

    def test_a_process_without_rows_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"trainer\.devices must be at most the 3 evaluation images; got 4"):
            OrderedBatches(3, 8, 0, 4)
