"""Near copies: the same picture with different pixels (cropped, shifted, scaled, marked or mirrored).

Candidates are pairs whose 64-bit perceptual hashes differ in a few bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fer_lightning.data.duplicates.exact import equal_pairs, pixel_blocks
from fer_lightning.data.image_decoding import conform
from fer_lightning.data.store import Images, track

RADIUS = 6
LEAST_CORRELATION = 0.9
CROWD = 16  # number of copies of one picture from which not all their pairs are listed
_BLOCK = 2048
HASH_BITS = 64
_SPARE_BANDS = 3
_LINKS = 500_000  # pairs that are joined at a time, which bounds memory
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
THUMBNAIL_SIDE = 32
_LOW = 8


def near_pairs(images: Images, rows: np.ndarray) -> pd.DataFrame:
    """Finds near copies and mirrored copies.

    Candidates are pairs whose perceptual hashes differ in at most `RADIUS` of 64 bits, one of them mirrored for
    mirrored copies. Each is then verified on pixels: the grey values of 32 x 32 thumbnails must have a correlation of
    `LEAST_CORRELATION` or more.

    Args:
        images: Store of the images.
        rows: Different, not blank rows of the store `(N,)`, ascending.

    Returns:
        One row per pair, but only some of a crowd (see `pairs_within`): `first` and `second` (rows of the store, the
        smaller one first), `kind` (`"near"` or `"mirrored"`, by the higher correlation), `distance` (bits),
        `correlation`.

    Readings:
        Both thresholds were chosen by eye on FER2013, where mirrored pairs are a control: few are copies, so they show
        the pairs that arise by chance. Up to 6 bits and from 0.9 on, the pairs of a random sample were all one picture;
        from 8 bits on, half of the mirrored pairs were two people. Copies with a large shift or crop are missed, so
        counts are lower bounds.
    """
    hashes = np.zeros((2, len(rows)), np.uint64)
    thumbnails = np.zeros((len(rows), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    for place, block in pixel_blocks(images, rows, "Hashing looks"):
        small = thumbnails[place] = _thumbnails(block)
        hashes[0, place], hashes[1, place] = perceptual_hashes(small), perceptual_hashes(small[:, :, ::-1])
    # Pairs of two mirror images are omitted: they resemble each other as their originals do.
    first, second, distance = pairs_within(hashes.reshape(-1), RADIUS, CROWD, originals=len(rows))
    mirrored = second >= len(rows)
    first, second = np.minimum(first % len(rows), second % len(rows)), np.maximum(first % len(rows), second % len(rows))
    kept = first != second  # a symmetric face resembles its own mirror image
    first, second, mirrored, distance = first[kept], second[kept], mirrored[kept], distance[kept].astype(np.int8)
    correlation = _correlations(thumbnails, first, second, mirrored)
    del thumbnails, hashes
    kept = np.flatnonzero(correlation >= LEAST_CORRELATION)
    kept = kept[np.lexsort((-correlation[kept], second[kept], first[kept]))]
    again = (first[kept[1:]] == first[kept[:-1]]) & (second[kept[1:]] == second[kept[:-1]])
    kept = kept[np.r_[True, ~again][: len(kept)]]  # the kind with the higher correlation
    # A data set full of copies has millions of pairs: small integers and categories save memory.
    return pd.DataFrame(
        {
            "first": rows.astype(np.int32)[first[kept]],
            "second": rows.astype(np.int32)[second[kept]],
            "kind": pd.Categorical.from_codes(mirrored[kept].astype(np.int8), ["near", "mirrored"]),
            "distance": distance[kept],
            "correlation": correlation[kept],
        }
    )


def _thumbnails(block: np.ndarray) -> np.ndarray:
    """Grey `(B, 32, 32)` of images `(B, H, W, C)`."""
    return np.stack([conform(_without_axis(image), THUMBNAIL_SIDE, 1)[..., 0] for image in block])


def _without_axis(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.shape[2] == 1 else image


def _correlations(thumbnails: np.ndarray, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    correlations = np.zeros(len(first))
    for start in track(range(0, len(first), _BLOCK), "Comparing pixels"):
        place = slice(start, start + _BLOCK)
        one, other = thumbnails[first[place]], thumbnails[second[place]]
        other = np.where(mirrored[place, None, None], other[:, :, ::-1], other)
        correlations[place] = (_standardised(one) * _standardised(other)).sum(axis=1)
    return correlations


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    """Thumbnails of zero mean and unit norm; one of a single colour becomes 0."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hamming distances `(P,)` int64 of hashes `(P,)` uint64."""
    return _ONES[(first ^ second).view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.int64)


def pairs_within(
    hashes: np.ndarray, radius: int, crowd: int | None = None, originals: int | None = None
) -> tuple[np.ndarray, ...]:
    """Pairs of hashes at most `radius` bits apart: all, or for crowds enough pairs to connect their members.

    The bits are split into `radius + 3` bands. Two hashes that differ in at most `radius` bits agree in three bands or
    more, so that sorting by every choice of three bands makes each such pair adjacent. With N hashes and C choices this
    takes C sorts of N and memory for N, where comparing all would take N * N / 2 comparisons.

    Args:
        hashes: Hashes `(N,)` uint64.
        radius: Maximum number of bits that differ, 0 to 32.
        crowd: Number of pairs of a hash from which further pairs are listed only where they join two groups, so that
            thousands of copies of one picture have thousands of pairs instead of millions; None lists all.
        originals: Number of first hashes, at least one of which is in every pair; None pairs all.

    Returns:
        First and second positions, the first the smaller one, `(P,)` int32 each, and the distances, `(P,)` int64,
        sorted by position.

    Source: Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007, section 3.

    Readings:
        Three bands: with 300,000 hashes and radius 6 they are 21 bits, which leaves few false candidates; the paper's
        sizes are for 8 billion hashes and radius 3.
    """
    masks = _band_masks(radius + _SPARE_BANDS)
    choices = list(combinations(range(len(masks)), _SPARE_BANDS))
    batches: list[np.ndarray] = []
    degrees = np.zeros(len(hashes), np.int64)
    groups = np.arange(len(hashes))
    for chosen in track(choices, "Comparing hashes"):
        joined = len(batches)
        for pairs in _pairs_of_choice(
            hashes, radius, masks, chosen, None if crowd is None else 2 * crowd * len(hashes)
        ):
            pairs = pairs if originals is None else pairs[pairs[:, 0] < originals]
            if crowd is not None:
                few = (degrees[pairs] < crowd).all(axis=1)
                pairs = pairs[few | (groups[pairs[:, 0]] != groups[pairs[:, 1]])]
                degrees += np.bincount(pairs.reshape(-1), minlength=len(hashes))
            batches.append(pairs.astype(np.int32))  # half the memory of millions of pairs
        if crowd is not None and (degrees >= crowd).any():
            groups = join(groups, np.concatenate(batches[joined:] or [np.zeros((0, 2), np.int32)]))
    pairs = np.concatenate(batches) if batches else np.zeros((0, 2), np.int32)
    batches.clear()
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs[:, 0], pairs[:, 1], distances(hashes[pairs[:, 0]], hashes[pairs[:, 1]])


def _band_masks(bands: int) -> list[np.uint64]:
    edges = [HASH_BITS * band // bands for band in range(bands + 1)]
    return [np.uint64((1 << stop) - (1 << start)) for start, stop in pairwise(edges)]


def join(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Group `(N,)` of each position, from 0 to N - 1, after the groups of paired positions `(P, 2)` are joined."""
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


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """64-bit perceptual hash (pHash) of every thumbnail: its 8 x 8 lowest DCT coefficients above their median.

    Args:
        thumbnails: Grey, `(N, 32, 32)`.

    Returns:
        `(N,)` uint64.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1.

    Readings:
        The coefficient of the mean brightness is one of the 64 and part of the median, as in the package imagehash.
    """
    spectrum = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")
    low = spectrum[:, :_LOW, :_LOW].reshape(-1, _LOW * _LOW)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]
