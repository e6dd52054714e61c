from __future__ import annotations

import pytest

from fer_lightning.search.mboa import population_for


@pytest.mark.parametrize(("n_trials", "bobcats"), [(1, 8), (60, 8), (61, 12), (150, 12), (151, 20), (None, 20)])
def test_small_budgets_feed_few(n_trials, bobcats):
    assert population_for(n_trials) == bobcats
    assert population_for(n_trials, "surrogate") == (20 if bobcats == 20 else bobcats / 2)
