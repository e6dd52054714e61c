from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from fer_lightning.report.search_ranks import median_regrets, rank_samplers


def table(cells: dict[tuple[str, str, int], list[float]], ask_ms: float = 1.0) -> pd.DataFrame:
    """Rows from `(sampler, problem, budget): regrets by seed`."""
    rows = [
        (sampler, problem, seed, budget, regret, ask_ms + seed)
        for (sampler, problem, budget), regrets in cells.items()
        for seed, regret in enumerate(regrets)
    ]
    return pd.DataFrame(rows, columns=["sampler", "problem", "seed", "budget", "regret", "ask_ms"])


RESULTS = table(
    {
        ("slow", "bowl", 60): [1, 2, 9],  # median 2
        ("quick", "bowl", 60): [3, 3, 3],
        ("new", "bowl", 60): [0, 2, 5],
        ("slow", "valley", 60): [7, 8, 9],
        ("quick", "valley", 60): [0.1, 0.2, 50],
        ("new", "valley", 60): [1, 1, 1],
        ("slow", "bowl", 100): [1, 1, 1],
        ("quick", "bowl", 100): [0, 0, 0],
        ("slow", "valley", 100): [1, 1, 1],
        ("quick", "valley", 100): [0, 0, 0],
    }
)


def test_medians_over_seeds_in_the_order_of_the_results():
    medians = median_regrets(RESULTS)
    assert list(medians.index) == [(60, "bowl"), (60, "valley"), (100, "bowl"), (100, "valley")]
    assert list(medians) == ["slow", "quick", "new"]
    expected = [[2, 3, 2], [8, 0.2, 1], [1, 0, np.nan], [1, 0, np.nan]]
    np.testing.assert_array_equal(medians.to_numpy(), expected)


def test_ranks_by_hand():
    ranks = rank_samplers(RESULTS)
    rows = ranks[["budget", "sampler", "mean_rank", "bowl", "valley"]].itertuples(index=False, name=None)
    assert list(rows) == [
        (60, "new", 1.75, 1.5, 2.0),
        (60, "quick", 2.0, 3.0, 1.0),
        (60, "slow", 2.25, 1.5, 3.0),
        (100, "quick", 1.0, 1.0, 1.0),
        (100, "slow", 2.0, 2.0, 2.0),
    ]
    assert (ranks["ask_ms"] == 2).all()


def test_the_interval_is_a_point_where_seeds_do_not_matter():
    ranks = rank_samplers(RESULTS).query("budget == 100")
    assert (ranks["low"] == ranks["mean_rank"]).all() and (ranks["high"] == ranks["mean_rank"]).all()


def test_the_interval_holds_what_luck_with_seeds_can_change():
    """Two samplers that are the same but for luck: either may come first."""
    rng = np.random.default_rng(0)
    cells = {key: rng.normal(size=10).tolist() for key in product("ab", ["bowl"], [60])}
    for row in rank_samplers(table(cells)).itertuples():
        assert (row.low, row.high) == (1, 2)


@pytest.mark.filterwarnings("error")
def test_one_seed_is_enough():
    ranks = rank_samplers(RESULTS[RESULTS["seed"] == 0])
    assert (ranks["low"] == ranks["high"]).all()
