from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.evaluation.multiplicity import adjust_p_values


def holm(p_values: list[float]) -> list[float]:
    """Step by step: the smallest times m, the next times m - 1, ..., never falling."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for step, index in enumerate(np.argsort(p_values)):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def test_by_hand():
    assert adjust_p_values([0.01, 0.04, 0.03], "holm") == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_p_values([0.01, 0.04, 0.5], "bonferroni") == pytest.approx([0.03, 0.12, 1])


def test_holm_agrees_with_the_loop():
    p_values = np.random.default_rng(0).beta(0.4, 1, 12).tolist()
    assert adjust_p_values(p_values, "holm") == pytest.approx(holm(p_values))


def test_what_was_not_tested_does_not_count():
    found = adjust_p_values([0.02, np.nan, 0.03], "bonferroni")
    assert found == pytest.approx([0.04, np.nan, 0.06], nan_ok=True)


@pytest.mark.parametrize("p_values", [[], [np.nan, np.nan]])
def test_no_test_at_all(p_values):
    assert np.isnan(adjust_p_values(p_values, "holm")).sum() == len(p_values)
