from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from fer_lightning.evaluation.paired_bootstrap import bootstrap_difference


@pytest.fixture
def correct() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    first = rng.random(400) < 0.7
    return first, np.where(rng.random(400) < 0.8, first, rng.random(400) < 0.5)


def test_agrees_with_scipys_bootstrap(correct):
    first, second = (array.astype(float) for array in correct)
    theirs = bootstrap(
        (first, second),
        lambda a, b, axis: (a - b).mean(axis=axis),
        paired=True,
        method="percentile",
        batch=500,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert bootstrap_difference(*correct) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_agrees_with_the_normal_approximation(correct):
    first, second = correct
    difference = first.astype(float) - second
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    assert bootstrap_difference(*correct) == pytest.approx(
        (difference.mean() - half, difference.mean() + half), abs=0.004
    )


def test_pairs_are_kept(correct):
    first, second = correct
    apart = bootstrap_difference(first, np.random.default_rng(0).permutation(second))
    together = bootstrap_difference(first, second)
    assert together[1] - together[0] < 0.8 * (apart[1] - apart[0])


def test_the_same_call_says_the_same(correct):
    assert bootstrap_difference(*correct) == bootstrap_difference(*correct)


def test_shares_of_several_seeds(correct):
    first, second = correct
    assert bootstrap_difference(np.mean([first, first], axis=0), np.mean([second, second], axis=0)) == pytest.approx(
        bootstrap_difference(first, second)
    )


def test_identical_predictions(correct):
    assert bootstrap_difference(correct[0], correct[0]) == (0, 0)
