"""All pairs of 64-bit hashes that differ in a few bits."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, pairwise

import numpy as np
from rich.progress import track
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fer_lightning.data.audit.equal_keys import equal_pairs

HASH_BITS = 64
_SPARE_BANDS = 3
_LINKS = 500_000  # that are joined at a time, so that memory stays flat
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers of bits in which hashes `(P,)` uint64 differ, `(P,)` int64."""
    return _ONES[(first ^ second).view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.int64)


def pairs_within(
    hashes: np.ndarray, radius: int, crowd: int | None = None, own: int | None = None
) -> tuple[np.ndarray, ...]:
    """Finds every pair of hashes at most `radius` bits apart, or of crowds enough pairs to tell who belongs together.

    The bits are cut into `radius + 3` bands. Two hashes that differ in at most `radius` bits agree in three bands or
    more, so that sorting by every choice of three bands brings each such pair together. With N hashes and C choices
    this takes C sorts of N and memory for N, where comparing all would take N * N / 2 comparisons.

    Args:
        hashes: `(N,)` uint64.
        radius: Most bits that differ, 0 to 32.
        crowd: A hash with this many pairs gets more only where they join two groups, so that thousands of copies of
            one picture cost thousands of pairs and not millions; None lists all.
        own: Pairs of two positions from this one on are left out; None keeps them.

    Returns:
        First and second positions, the first the smaller one, `(P,)` int32 each, and the distances, `(P,)` int64,
        sorted by position.

    Source: Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007, section 3.

    Readings:
        Three bands: with 300,000 hashes and radius 6 they are 21 bits, which leaves few pairs to compare that are not
        close; the paper's own sizes are for 8 billion hashes and radius 3.
    """
    masks = _band_masks(radius + _SPARE_BANDS)
    choices = list(combinations(range(len(masks)), _SPARE_BANDS))
    found: list[np.ndarray] = []
    degrees = np.zeros(len(hashes), np.int64)
    groups = np.arange(len(hashes))
    for chosen in track(choices, description="Comparing hashes", transient=True):
        joined = len(found)
        for pairs in _pairs_of_choice(
            hashes, radius, masks, chosen, None if crowd is None else 2 * crowd * len(hashes)
        ):
            pairs = pairs if own is None else pairs[pairs[:, 0] < own]
            if crowd is not None:
                few = (degrees[pairs] < crowd).all(axis=1)
                pairs = pairs[few | (groups[pairs[:, 0]] != groups[pairs[:, 1]])]
                degrees += np.bincount(pairs.reshape(-1), minlength=len(hashes))
            found.append(pairs.astype(np.int32))  # millions of them: half the memory
        if crowd is not None and (degrees >= crowd).any():
            groups = join(groups, np.concatenate(found[joined:] or [np.zeros((0, 2), np.int32)]))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int32)
    found.clear()
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs[:, 0], pairs[:, 1], distances(hashes[pairs[:, 0]], hashes[pairs[:, 1]])


def _band_masks(bands: int) -> list[np.uint64]:
    edges = [HASH_BITS * band // bands for band in range(bands + 1)]
    return [np.uint64((1 << stop) - (1 << start)) for start, stop in pairwise(edges)]


def join(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Number of the group of each position after the groups of paired positions are joined, `(N,)`.

    Args:
        groups: Group of each position `(N,)`, a number from 0 to N - 1.
        pairs: `(P, 2)` positions.
    """
    for start in range(0, len(pairs), _LINKS):
        ends = groups[pairs[start : start + _LINKS]]
        ends = ends[ends[:, 0] != ends[:, 1]]
        links = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(groups),) * 2)
        groups = connected_components(links, directed=False)[1][groups]
    return groups


def _pairs_of_choice(
    hashes: np.ndarray, radius: int, masks: list[np.uint64], chosen: tuple[int, ...], most: int | None
) -> Iterable[np.ndarray]:
    """The close pairs whose first equal bands are the chosen ones: so each pair is found by one choice alone."""
    together = np.bitwise_or.reduce([masks[band] for band in chosen])
    earlier = [masks[band] for band in range(chosen[-1]) if band not in chosen]
    for first, second in equal_pairs(hashes & together, most):
        close = distances(hashes[first], hashes[second]) <= radius
        first, second = first[close], second[close]
        for mask in earlier:
            new = (hashes[first] ^ hashes[second]) & mask != 0
            first, second = first[new], second[new]
        if len(first):
            yield np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)
