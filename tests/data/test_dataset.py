from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import albumentations
import numpy as np
import torch
from torch.utils.data import DataLoader

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.batches import EpochBatches
from fer_lightning.data.dataset import ExpressionDataset
from fer_lightning.data.samples import ImageFiles
from fer_lightning.data.store import pack


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
