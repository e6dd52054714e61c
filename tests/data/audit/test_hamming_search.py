from __future__ import annotations

import resource
from time import perf_counter

import numpy as np
import pytest

from fer_lightning.data.audit.hamming_search import distances, pairs_within


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
