"""Do two variants differ, judged by their scores under the same seeds?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_rel, wilcoxon

from fer_lightning.evaluation.effect_size import cohens_dz
from fer_lightning.results.intervals import SeedMean, mean_over_seeds


@dataclass(frozen=True)
class SeedTest:
    """What seeds say about `first - second`.

    Attributes:
        difference: Mean difference over seeds with its t interval.
        t_p: Two-sided p of the paired t-test; NaN for one seed.
        wilcoxon_p: Two-sided p of Wilcoxon's signed-rank test, exact for up to 50 seeds without ties. It cannot fall
            below `2 ** (1 - n)`: 0.25 for three seeds, 0.0625 for five. NaN for one seed.
        dz: Cohen's d_z, see `cohens_dz`.
    """

    difference: SeedMean
    t_p: float
    wilcoxon_p: float
    dz: float


def compare_seeds(first: Sequence[float], second: Sequence[float]) -> SeedTest:
    """Tests scores that are paired by seed.

    Args:
        first: Scores of one variant, one a seed.
        second: Scores of the other under the same seeds, in the same order.

    Readings:
        - All differences equal and not 0: the t-test divides by 0. Its p is 0 by scipy, here NaN: seeds that agree to
          the last digit (a deterministic net, one run counted twice) are no evidence of that size.
        - All differences 0: p is 1 in both tests.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    summary = mean_over_seeds(differences.tolist())
    if len(differences) < 2:
        return SeedTest(summary, float("nan"), float("nan"), float("nan"))
    if not differences.any():
        return SeedTest(summary, 1.0, 1.0, 0.0)
    dz = cohens_dz(differences)
    t_p = float(ttest_rel(first, second).pvalue) if np.isfinite(dz) else float("nan")
    # Differences of equal scores may be off by rounding, which would rank ties apart.
    return SeedTest(summary, t_p, float(wilcoxon(differences.round(12)).pvalue), dz)
