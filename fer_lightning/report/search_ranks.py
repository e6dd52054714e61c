"""Which sampler finds better choices: ranks over problems."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

_RESAMPLES = 1000


def median_regrets(results: pd.DataFrame) -> pd.DataFrame:
    """Median over seeds.

    Args:
        results: Columns `sampler`, `problem`, `seed`, `budget`, `regret`.

    Returns:
        Indexed by `budget` and `problem`, one column a sampler, in the order of `results`; NaN where it did not run.
    """
    medians = results.groupby(["budget", "problem", "sampler"], sort=False)["regret"].median()
    return medians.unstack("sampler", sort=False).sort_index(level="budget", kind="stable", sort_remaining=False)


def rank_samplers(results: pd.DataFrame) -> pd.DataFrame:
    """Ranks the median regrets on each problem, 1 for the lowest, equal ones alike, and takes the mean over problems.

    Args:
        results: Columns `sampler`, `problem`, `seed`, `budget`, `regret`, `ask_ms`; at each budget every sampler that
            is there has every problem and seed.

    Returns:
        Best first for each budget: `budget`, `sampler`, `mean_rank`; `low` and `high`, the middle 95 % of 1,000 mean
        ranks with the seeds redrawn (seeds, not problems: it says nothing about problems that are not here); `ask_ms`,
        the median over problems and seeds; then the rank on each problem in a column of its name.
    """
    tables = [_rank_budget(results[results["budget"] == budget]) for budget in sorted(results["budget"].unique())]
    return pd.concat(tables, ignore_index=True)


def _rank_budget(results: pd.DataFrame) -> pd.DataFrame:
    samplers, problems = results["sampler"].unique(), results["problem"].unique()
    seeds = results["seed"].unique()
    cube = (
        results.set_index(["problem", "sampler", "seed"])["regret"]
        .reindex(pd.MultiIndex.from_product([problems, samplers, seeds]))
        .to_numpy()
        .reshape(len(problems), len(samplers), len(seeds))
    )
    ranks = rankdata(np.median(cube, axis=2), axis=1)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(seeds), size=(_RESAMPLES, len(seeds)))
    again = [rankdata(np.median(cube[:, :, draw], axis=2), axis=1).mean(axis=0) for draw in drawn]
    low, high = np.quantile(again, (0.025, 0.975), axis=0)
    table = pd.DataFrame(
        {
            "budget": results["budget"].iloc[0],
            "sampler": samplers,
            "mean_rank": ranks.mean(axis=0),
            "low": low,
            "high": high,
            "ask_ms": results.groupby("sampler")["ask_ms"].median()[samplers].to_numpy(),
            **dict(zip(problems, ranks)),
        }
    )
    return table.sort_values("mean_rank", kind="stable")
