"""Which faces of a split are explained."""

from __future__ import annotations

import numpy as np


def candidates(targets: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows to choose from, so that not all of a large split is predicted.

    Args:
        targets: Class indices (N,).
        most: Of each class at most so many, drawn at random.
        seed: Of the draw.

    Returns:
        Row numbers, class by class.
    """
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(targets == index))[:most] for index in np.unique(targets)])


def choose_rows(targets: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Takes classes in turn, and of each class a right and a wrong prediction in turn, as long as there are any.

    Args:
        targets: Class indices (N,).
        predicted: Those that the network names (N,).
        count: How many rows are wanted.

    Returns:
        At most `count` row numbers, sorted by class.
    """
    waiting = {}
    for place, index in enumerate(np.unique(targets)):
        right, wrong = (
            list(np.flatnonzero((targets == index) & ((predicted == index) == is_right))) for is_right in (True, False)
        )
        # Every other class begins with a wrong one, so that half of few faces are wrong as well.
        waiting[index] = (right, wrong) if place % 2 == 0 else (wrong, right)
    chosen: list[int] = []
    turn = 0
    while len(chosen) < count and any(first or second for first, second in waiting.values()):
        for first, second in waiting.values():
            wanted, other = (first, second) if turn % 2 == 0 else (second, first)
            if source := wanted or other:
                chosen.append(int(source.pop(0)))
        turn += 1
    chosen = chosen[:count]
    return np.array(sorted(chosen, key=lambda row: (targets[row], predicted[row] != targets[row])), np.int64)
