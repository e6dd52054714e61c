"""Exact copies: images that are equal pixel for pixel, and pairs of equal keys in general."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from fer_lightning.data.store import Images, track_once

_BLOCK = 512


def pixel_blocks(images: Images, rows: np.ndarray, description: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields the position in `rows` and the images uint8 `(B, H, W, C)` of each block, see `track_once`."""
    starts = range(0, len(rows), _BLOCK)
    for start in track_once(starts, description, len(rows), len(starts), "to find copies"):
        place = slice(start, start + _BLOCK)
        yield place, images.batch(rows[place])


def pixel_digests(images: Images, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Digests of the pixels of images, and which images are of a single colour.

    Args:
        images: Store of the images.
        rows: Rows of the store `(N,)`.

    Returns:
        64-bit digests `(N,)` uint64 (one chance in 37 million of a collision among a million images), and whether each
        image is blank `(N,)` bool.
    """
    digests, blank = np.zeros(len(rows), np.uint64), np.zeros(len(rows), bool)
    for place, block in pixel_blocks(images, rows, "Hashing images"):
        flat = np.ascontiguousarray(block).reshape(len(block), -1)
        digests[place] = [
            int.from_bytes(hashlib.blake2b(pixels.data, digest_size=8).digest(), "little") for pixels in flat
        ]
        blank[place] = (block == block[:, :1, :1]).all(axis=(1, 2, 3))
    return digests, blank


def exact_pairs(digests: np.ndarray, crowd: int | None = None) -> np.ndarray:
    """Positions of equal digests, `(P, 2)` int64, the smaller position first.

    Args:
        digests: `(N,)` uint64.
        crowd: Groups of more than this many equal digests list only pairs of neighbours; None lists all pairs.
    """
    blocks = []
    if crowd is not None:
        _, group, sizes = np.unique(digests, return_inverse=True, return_counts=True)
        crowded = np.flatnonzero(sizes[group] > crowd)
        in_order = crowded[np.argsort(group[crowded], kind="stable")]
        chain = np.stack([in_order[:-1], in_order[1:]], axis=1)
        blocks.append(chain[group[chain[:, 0]] == group[chain[:, 1]]])
        others = np.flatnonzero(sizes[group] <= crowd)
        blocks += [others[np.stack(pair, axis=1)] for pair in equal_pairs(digests[others])]
    else:
        blocks += [np.stack(pair, axis=1) for pair in equal_pairs(digests)]
    pairs = np.concatenate(blocks) if blocks else np.zeros((0, 2), np.int64)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def equal_pairs(keys: np.ndarray, most: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields every pair of positions with equal keys once, at most N at a time.

    The sorted keys are compared with themselves at shifts of 1, 2, 3 and so on until no key is equal. Memory is linear
    in the keys, time in the sort and the number of pairs.

    Args:
        keys: Keys `(N,)`.
        most: Number of pairs after which to stop, once each position has been compared at the same shifts; None: all.

    Yields:
        First and second positions of some pairs, `(P,)` int64 each; the first is the smaller one.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.arange(len(keys))
    shift = yielded = 0
    while len(starts) and (most is None or yielded < most):
        shift += 1
        starts = starts[: np.searchsorted(starts, len(keys) - shift)]
        starts = starts[ordered[starts] == ordered[starts + shift]]
        yielded += len(starts)
        if len(starts):
            yield order[starts], order[starts + shift]
