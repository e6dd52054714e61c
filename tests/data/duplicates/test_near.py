from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.fft import idctn

from fer_lightning.data.audit.hamming_search import distances
from fer_lightning.data.duplicates.near import LEAST_CORRELATION, RADIUS, near_pairs
from fer_lightning.data.audit.perceptual_hash import perceptual_hashes


class Arrays:
    """A store in memory."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def batch(self, rows: np.ndarray) -> np.ndarray:
        return self.images[rows]


def scenes(count: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 1, (count, 48, 48, channels))
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 4).reshape(48, 48, channels) for image in noise])
    return (128 + 55 * smooth / smooth.std(axis=(1, 2, 3), keepdims=True)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_finds_planted_copies_and_nothing_else(channels):
    images = scenes(60, channels)
    images[11] = cv2.resize(images[10][1:, 1:], (48, 48)).reshape(48, 48, channels)  # cropped
    images[21] = (0.7 * images[20] + 25).astype(np.uint8)  # darker
    images[31] = images[30][:, ::-1]  # mirrored
    images[41] = images[40]
    images[41][42:45, 8:26] = 200  # with a watermark
    found = near_pairs(Arrays(images), np.arange(60))
    assert list(zip(found["first"], found["second"], found["kind"])) == [
        (10, 11, "near"),
        (20, 21, "near"),
        (30, 31, "mirrored"),
        (40, 41, "near"),
    ]
    assert found["distance"].max() <= RADIUS
    assert found["correlation"].min() >= LEAST_CORRELATION
    assert found.loc[2, ["distance", "correlation"]].tolist() == pytest.approx([0, 1])


def test_rows_are_those_of_the_store():
    images = scenes(30, 1)
    images[28] = images[4] // 2
    assert near_pairs(Arrays(images), np.array([2, 4, 9, 28]))[["first", "second"]].values.tolist() == [[4, 28]]


def test_a_symmetric_picture_is_near_once_and_no_copy_of_itself():
    images = scenes(8, 1)
    images[2] = (images[2] // 2 + images[2][:, ::-1] // 2).astype(np.uint8)
    images[5] = images[2] // 2 + 60
    found = near_pairs(Arrays(images), np.arange(8))
    assert found[["first", "second"]].values.tolist() == [[2, 5]]


def test_close_hashes_are_no_copies_when_pixels_say_otherwise():
    """Low frequencies in common, and more of what the hash does not see."""
    rng = np.random.default_rng(0)
    low, high = rng.normal(0, 1, (32, 32)), rng.normal(0, 1, (2, 32, 32))
    low[8:] = low[:, 8:] = high[:, :8, :8] = 0
    common, own = idctn(low, norm="ortho"), idctn(high, axes=(1, 2), norm="ortho")
    images = (128 + 20 * common / common.std() + 35 * own / own.std()).clip(0, 255).astype(np.uint8)[..., None]
    hashes = perceptual_hashes(images[..., 0])
    assert distances(hashes[:1], hashes[1:]) <= RADIUS
    assert near_pairs(Arrays(images), np.arange(2)).empty
