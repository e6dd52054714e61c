"""How large a difference is, beside how sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import mannwhitneyu


def cohens_dz(differences: Sequence[float] | np.ndarray) -> float:
    """Cohen's d_z: the mean of paired differences in units of their sample standard deviation.

    Args:
        differences: One a pair.

    Returns:
        d_z; 0 where all differences are 0; NaN where they are equal otherwise (nothing to measure by) or fewer than 2.

    Source: Lakens, "Calculating and reporting effect sizes", Frontiers in Psychology 4:863, 2013, equation 7.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return float("nan")
    if not values.any():
        return 0.0
    sd = float(values.std(ddof=1))
    # Scores are shares of some thousand images: a deviation of 1e-12 is rounding.
    return float(values.mean()) / sd if sd > 1e-12 else float("nan")


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> float:
    """Cliff's delta: how much likelier a score of `first` lies above one of `second` than below.

    It needs no pairs: the seeds of both may differ, in number too.

    Args:
        first: Scores of one variant, at least one.
        second: Scores of the other, at least one.

    Returns:
        -1 (all below) .. 1 (all above). One score each gives no other values than these ends and 0, and says nothing.

    Source: Cliff, "Dominance statistics", Psychological Bulletin 114, 1993; by way of Mann and Whitney's U, which
    counts a tie as one half: `2 U / (n m) - 1`.
    """
    above = float(mannwhitneyu(first, second).statistic)
    return 2 * above / (len(first) * len(second)) - 1
