"""How scores, differences and p-values are told to readers."""

from __future__ import annotations

import math

NOTHING = "-"


def percent(ratio: float) -> str:
    """A measured score in 0..1 as percent with one decimal, which is what a few thousand test images can tell."""
    return NOTHING if math.isnan(ratio) else f"{100 * ratio:.1f} %"


def as_printed(ratio: float) -> str:
    """A published score with as many digits as the papers have, which is two at most."""
    return NOTHING if math.isnan(ratio) else f"{round(100 * ratio, 2):g} %"


def points(ratio: float) -> str:
    """A difference of scores in 0..1 as percentage points with its sign."""
    return NOTHING if math.isnan(ratio) else f"{100 * ratio:+.1f}"


def range_of_percents(low: float, high: float) -> str:
    """Two scores, or the one that both are."""
    return percent(low) if low == high or math.isnan(low) else f"{percent(low)} to {percent(high)}"


def p_value(p: float) -> str:
    """A p-value with three decimals."""
    return NOTHING if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
