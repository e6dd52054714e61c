"""Which mistakes are worth looking at."""

from __future__ import annotations

import numpy as np


def most_confident_errors(targets: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Rows classified wrongly with the highest confidence: hard faces and wrong labels.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        count: How many rows at most.

    Returns:
        Row numbers, most confident first; ties in the order of the rows.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != targets)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order[:count]]
