"""Images that show the same picture though their pixels differ: cropped, shifted, scaled, marked or mirrored."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rich.progress import track

from fer_lightning.data.duplicates.exact import pixel_blocks
from fer_lightning.data.audit.hamming_search import pairs_within
from fer_lightning.data.audit.perceptual_hash import THUMBNAIL_SIDE, perceptual_hashes
from fer_lightning.data.store import Images, conform

RADIUS = 6
LEAST_CORRELATION = 0.9
CROWD = 16  # copies of one picture from which on not all their pairs are listed
_BLOCK = 2048


def near_pairs(images: Images, rows: np.ndarray) -> pd.DataFrame:
    """Finds near copies and mirrored copies.

    Candidates are pairs whose perceptual hashes differ in at most `RADIUS` of 64 bits, one of them mirrored for
    mirrored copies. Each is then verified on pixels: the grey values of 32 x 32 thumbnails must correlate by
    `LEAST_CORRELATION` or more.

    Args:
        images: The store.
        rows: Different, not blank rows of the store `(N,)`, ascending.

    Returns:
        One row a pair, of crowds only some (see `pairs_within`): `first` and `second` (rows of the store, the smaller
        one first), `kind` (`"near"` or `"mirrored"`; the one that fits better), `distance` (bits), `correlation`.

    Readings:
        Both thresholds were chosen by eye on FER2013, where mirrored pairs are a control: few are copies, so they show
        what chance alone brings together. Up to 6 bits and from 0.9 on, the pairs of a random sample were all one
        picture; from 8 bits on, half of the mirrored pairs were two people. Copies that are shifted or cropped by much
        are missed, so counts are lower bounds.
    """
    hashes = np.zeros((2, len(rows)), np.uint64)
    thumbnails = np.zeros((len(rows), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    for place, block in pixel_blocks(images, rows, "Hashing looks"):
        small = thumbnails[place] = _thumbnails(block)
        hashes[0, place], hashes[1, place] = perceptual_hashes(small), perceptual_hashes(small[:, :, ::-1])
    # Two mirror images resemble each other as their originals do.
    first, second, distance = pairs_within(hashes.reshape(-1), RADIUS, CROWD, own=len(rows))
    mirrored = second >= len(rows)
    first, second = np.minimum(first % len(rows), second % len(rows)), np.maximum(first % len(rows), second % len(rows))
    kept = first != second  # a symmetric face resembles its own mirror image
    first, second, mirrored, distance = first[kept], second[kept], mirrored[kept], distance[kept].astype(np.int8)
    correlation = _correlations(thumbnails, first, second, mirrored)
    del thumbnails, hashes
    kept = np.flatnonzero(correlation >= LEAST_CORRELATION)
    kept = kept[np.lexsort((-correlation[kept], second[kept], first[kept]))]
    again = (first[kept[1:]] == first[kept[:-1]]) & (second[kept[1:]] == second[kept[:-1]])
    kept = kept[np.r_[True, ~again][: len(kept)]]  # of both kinds the one that fits better
    # Of a data set full of copies there are millions of pairs: small numbers, and no words.
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
    found = np.zeros(len(first))
    for start in track(range(0, len(first), _BLOCK), description="Comparing pixels", transient=True):
        place = slice(start, start + _BLOCK)
        one, other = thumbnails[first[place]], thumbnails[second[place]]
        other = np.where(mirrored[place, None, None], other[:, :, ::-1], other)
        found[place] = (_standardised(one) * _standardised(other)).sum(axis=1)
    return found


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    """Without mean and of length 1; a thumbnail of one colour becomes 0 and correlates with nothing."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
