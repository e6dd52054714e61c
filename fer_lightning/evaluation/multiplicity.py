"""Many tests in one table: p-values that stand for the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from statsmodels.stats.multitest import multipletests


def adjust_p_values(p_values: Sequence[float], method: Literal["holm", "bonferroni"]) -> np.ndarray:
    """Adjusts the p-values of one table for their number.

    Args:
        p_values: One a comparison; NaN where none was made, which does not count.
        method: `"holm"` or `"bonferroni"`. Both bound the chance of a single false claim in the table, whatever depends
            on what; Holm's are never larger.

    Returns:
        Adjusted p-values in the same order, at most 1; NaN where there was none.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    tested = np.isfinite(values)
    if tested.any():
        adjusted[tested] = multipletests(values[tested], method=method)[1]
    return adjusted
