"""All pairs of positions that hold the same key, found by sorting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def equal_pairs(keys: np.ndarray, most: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields every pair of positions with equal keys once, at most N at a time.

    The sorted keys are compared with themselves, shifted by one, two, three and so on until nothing is equal: memory
    stays that of the keys, and the work is the sort and the number of pairs.

    Args:
        keys: `(N,)`.
        most: Ends after about this many pairs, each position then having met those that follow it; None: all pairs.

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
