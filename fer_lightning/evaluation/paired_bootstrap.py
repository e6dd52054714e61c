"""Do two variants differ, judged by test images that are drawn anew?"""

from __future__ import annotations

import numpy as np


def bootstrap_difference(
    first_correct: np.ndarray, second_correct: np.ndarray, level: float = 0.95, resamples: int = 9999
) -> tuple[float, float]:
    """Interval of the difference in accuracy, first minus second, by redrawing test images.

    Each image is drawn together with what both variants say about it. With several seeds its share of correct runs
    counts, so that the interval is that of the difference of the mean accuracies under these very seeds.

    Args:
        first_correct: Whether one variant is right, boolean `(N,)`, or its share of correct runs.
        second_correct: The same for the other on the same images, `(N,)`.
        level: Confidence level in 0..1.
        resamples: Number of redrawn test sets; they are the same in every call.

    Returns:
        Lower and upper end, the percentiles of the redrawn differences. Both are 0 where no image tells the two apart.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3.
    """
    differences = np.asarray(first_correct, dtype=np.float64) - np.asarray(second_correct, dtype=np.float64)
    values, counts = np.unique(differences, return_counts=True)
    # Images with the same difference are alike: how many of each kind are drawn decides, and that is multinomial.
    drawn = np.random.default_rng(0).multinomial(len(differences), counts / len(differences), size=resamples)
    low, high = np.quantile(drawn @ values / len(differences), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
