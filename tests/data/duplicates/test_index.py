from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lightning.data.duplicates import index as module
from fer_lightning.data.duplicates.index import Copies


class Arrays:
    """A store in memory."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def batch(self, rows: np.ndarray) -> np.ndarray:
        return self.images[rows]


@pytest.fixture
def images() -> np.ndarray:
    """Row 0 cannot be decoded; 2 = 5 = 8, of which 3 is a near copy; 4 is 6 mirrored; 7 and 9 are black."""
    rng = np.random.default_rng(1)
    images = np.stack([cv2.GaussianBlur(rng.normal(0, 1, (48, 48)), (0, 0), 4) for _ in range(12)])[..., None]
    images = (128 + 400 * images).clip(0, 255).astype(np.uint8)
    images[5] = images[8] = images[2]
    images[3] = images[2] // 2 + 60
    images[4] = images[6][:, ::-1]
    images[7] = images[9] = 0
    return images


ROWS = np.arange(1, 12)


def test_pairs(images, tmp_path):
    copies = Copies(Arrays(images), ROWS, tmp_path / "store")
    assert copies.exact()[["first", "second"]].values.tolist() == [[2, 5], [2, 8], [5, 8]]
    assert list(zip(copies.near["first"], copies.near["second"], copies.near["kind"])) == [
        (2, 3, "near"),
        (3, 5, "near"),
        (3, 8, "near"),
        (4, 6, "mirrored"),
    ]
    assert copies.blank.nonzero()[0].tolist() == [7, 9]


def test_presence(images, tmp_path):
    copies = Copies(Arrays(images), ROWS, tmp_path / "store")
    rows = np.array([1, 2, 3, 4, 7])
    assert copies.present(rows, np.array([5, 6, 9]), near=False).tolist() == [False, True, False, False, True]
    assert copies.present(rows, np.array([5, 6, 9]), near=True).tolist() == [False, True, True, True, True]
    assert not copies.present(rows, np.array([10, 11]), near=True).any()


def test_is_found_once_and_kept(images, tmp_path, monkeypatch):
    first = Copies(Arrays(images), ROWS, tmp_path / "store")
    near, digests = first.near, first.digests
    for name in ("near_pairs", "pixel_digests"):
        monkeypatch.setattr(module, name, None)
    again = Copies(Arrays(images), ROWS, tmp_path / "store")
    assert again.near.equals(near) and (again.digests == digests).all()
    assert {path.name for path in Path(tmp_path).iterdir() if path.is_dir()} == {"store-digests1", "store-near1"}


def test_no_pairs(images, tmp_path):
    copies = Copies(Arrays(images), np.array([1, 10, 11]), tmp_path / "store")
    assert copies.exact().empty and copies.near.empty
    assert not copies.present(np.array([1]), np.array([10, 11]), near=True).any()


def test_crowds_are_counted_and_joined_without_listing_their_pairs(images, tmp_path):
    """100 equal pictures and 100 that are nearly equal to them: 19,900 pairs."""
    rng = np.random.default_rng(2)
    crowd = np.repeat(images[2:3], 200, axis=0).astype(int)
    crowd[100:] += rng.integers(-2, 3, (100, 48, 48, 1))
    store = np.concatenate([images, crowd.clip(0, 255).astype(np.uint8)])
    copies = Copies(Arrays(store), np.arange(1, len(store)), tmp_path / "store")
    kinds = np.zeros(len(store) - 1, np.int64)
    assert copies.count(np.arange(1, len(store)), kinds, 1)["exact"][0, 0] == 103 * 102 // 2
    assert len(copies.exact()) == 102 and len(copies.near) < 200 * 32
    assert copies.group_sizes()[0] == 204  # with the darker one
    # The last one is joined to the first, whether or not their pair is listed.
    assert copies.present(np.array([len(store) - 1]), np.array([2]), near=True).all()
