"""How sure a number is."""

from __future__ import annotations

from scipy.stats import binomtest


def accuracy_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy.

    It covers only the chance of having drawn these test images, not that of the seed.

    Args:
        correct: Images classified correctly.
        total: Images classified.
        level: Confidence level in 0..1.

    Returns:
        Lower and upper end, in 0..1.

    Raises:
        ValueError: `total` is below 1 or `correct` lies outside 0..total.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if total < 1:
        raise ValueError(f"An accuracy over {total} images has no interval.")
    interval = binomtest(correct, total).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)
