from __future__ import annotations

import math

import pytest

from fer_lightning.evaluation.statistics import accuracy_interval


def wilson(correct: int, total: int, z: float) -> tuple[float, float]:
    """The closed form of Wilson (1927)."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


@pytest.mark.parametrize("correct, total", [(8, 10), (2550, 3589), (10, 10), (0, 10)])
def test_agrees_with_the_closed_form(correct, total):
    assert accuracy_interval(correct, total) == pytest.approx(wilson(correct, total, z=1.959963984540054), abs=1e-12)


def test_agrees_with_a_value_worked_out_by_hand():
    # 8 of 10: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half width 1.41603 * sqrt(0.016 + 0.0096036) = 0.22658.
    assert accuracy_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_a_higher_level_is_wider():
    assert accuracy_interval(80, 100, level=0.99)[0] == pytest.approx(wilson(80, 100, z=2.5758293035489004)[0])


@pytest.mark.parametrize("correct, total", [(0, 0), (11, 10), (-1, 10)])
def test_refuses_impossible_counts(correct, total):
    with pytest.raises(ValueError):
        accuracy_interval(correct, total)
