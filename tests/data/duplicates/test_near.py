from __future__ import annotations

import resource
from time import perf_counter

import cv2
import numpy as np
import pytest
from scipy.fft import dct, idctn

from fer_lightning.data.duplicates.near import (
    LEAST_CORRELATION,
    RADIUS,
    distances,
    near_pairs,
    pairs_within,
    perceptual_hashes,
)


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


def hashes_in_clusters(rng: np.random.Generator, count: int, flips: int) -> np.ndarray:
    """Every fourth hash is random, the next three are it with up to `flips` bits turned."""
    hashes = rng.integers(0, 1 << 64, count, dtype=np.uint64)
    for position in np.flatnonzero(np.arange(count) % 4):
        turned = rng.choice(64, rng.integers(0, flips + 1), replace=False)
        hashes[position] = hashes[position // 4 * 4] ^ np.uint64(sum(1 << int(bit) for bit in turned))
    return hashes


def brute_force(hashes: np.ndarray, radius: int) -> list[tuple[int, int, int]]:
    numbers = [int(number) for number in hashes]
    return [
        (i, j, distance)
        for i in range(len(numbers))
        for j in range(i + 1, len(numbers))
        if (distance := bin(numbers[i] ^ numbers[j]).count("1")) <= radius
    ]


@pytest.mark.parametrize("radius", [0, 1, 3, 6])
def test_finds_what_comparing_all_finds(radius):
    hashes = hashes_in_clusters(np.random.default_rng(radius), 300, flips=8)
    found = list(zip(*(column.tolist() for column in pairs_within(hashes, radius))))
    assert found == brute_force(hashes, radius) and len(found) >= 10


def test_crowded_hashes():
    """Bits that are nearly all alike, as those of blank pictures: every band is equal in many pairs."""
    rng = np.random.default_rng(0)
    hashes = np.array([sum(1 << int(bit) for bit in rng.choice(64, 3)) for _ in range(120)], np.uint64)
    found = list(zip(*(column.tolist() for column in pairs_within(hashes, 6))))
    assert found == brute_force(hashes, 6) and len(found) == 120 * 119 // 2


def test_distances():
    first, second = np.array([0, 5, 2**64 - 1], np.uint64), np.array([0, 6, 0], np.uint64)
    assert distances(first, second).tolist() == [0, 2, 64]


def test_nothing_to_compare():
    for hashes in (np.zeros(0, np.uint64), np.zeros(1, np.uint64)):
        assert [len(column) for column in pairs_within(hashes, 6)] == [0, 0, 0]


@pytest.mark.slow
def test_300_000_hashes_and_their_mirror_images_take_minutes_and_little_memory():
    """As `near_pairs` of a dataset of the size of AffectNet."""
    hashes = hashes_in_clusters(np.random.default_rng(0), 600_000, flips=6)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    first, _, distance = pairs_within(hashes, 6)
    seconds = perf_counter() - start
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{seconds:.1f} s, {megabytes:.0f} MB, {len(first)} pairs")
    assert len(first) >= 450_000 and distance.max() == 6
    assert seconds < 180 and megabytes < 500


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (32, 32)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def test_by_the_formula():
    """imagehash.phash, written out: two one-dimensional transforms, the median, and the bits row by row."""
    thumbnail = picture(0)
    low = dct(dct(thumbnail.astype(float), axis=0), axis=1)[:8, :8]
    scale = np.where(np.arange(8) == 0, np.sqrt(0.5), 1)  # orthonormal
    low *= scale[:, None] * scale
    bits = (low > np.median(low)).reshape(-1)
    assert np.unpackbits(perceptual_hashes(thumbnail[None]).view(np.uint8)).astype(bool).tolist() == bits.tolist()


def test_similar_pictures_have_similar_hashes():
    pictures = np.stack([picture(seed) for seed in range(40)])
    darker = (0.6 * pictures + 20).astype(np.uint8)
    hashes = perceptual_hashes(pictures)
    assert distances(hashes, perceptual_hashes(darker)).max() <= 6
    assert distances(hashes[:-1], hashes[1:]).min() > 12
