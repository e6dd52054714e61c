"""A contest as a table: medians, 95th percentiles, ratios to a reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fer_lightning.benchmark.pipeline import Contest
from fer_lightning.benchmark.latency import ratio_of_rounds, summarise_times

COMPARED = ("whole", "cpu")  # stages that every contestant has


def contest_table(contest: Contest, reference: str) -> pd.DataFrame:
    """Summarises a contest.

    Args:
        contest: With at least the reference in it.
        reference: Name of the one that the others are compared with.

    Returns:
        One row a contestant and stage: `who`, `stage`, `median_ms`, `p95_ms`, `fps`, `n`, `ratio` (how many times
        longer than the reference, NaN for parts), `ratio_low`, `ratio_high`, `label` (the most frequent one), `found`
        (share of the frames with a face), `peak_memory_mb`, `version` and `settings`.
    """
    table = summarise_times(contest.times, ["who", "stage"])
    for (who, stage), row in table.groupby(["who", "stage"]).groups.items():
        if stage in COMPARED:
            ratio = ratio_of_rounds(_by_round(contest, who, stage), _by_round(contest, reference, stage))
            table.loc[row, ["ratio", "ratio_low", "ratio_high"]] = [ratio.median, ratio.low, ratio.high]
    told = pd.DataFrame.from_dict({who: _told(facts) for who, facts in contest.facts.items()}, orient="index")
    order = {who: place for place, who in enumerate(contest.facts)}
    table = table.join(told, on="who").sort_values("who", key=lambda names: names.map(order), kind="stable")
    return table.reset_index(drop=True)


def _by_round(contest: Contest, who: str, stage: str) -> pd.Series:
    own = contest.times[(contest.times["who"] == who) & (contest.times["stage"] == stage)]
    return own.set_index("round")["milliseconds"]


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": most_frequent(facts["labels"]),
        "found": sum(label is not None for label in facts["labels"]) / len(facts["labels"]),
        "peak_memory_mb": facts["peak_memory_mb"],
        "version": facts["version"],
        "settings": facts["settings"],
    }


def most_frequent(labels: Sequence[str | None]) -> str | None:
    """The label that most frames got; None where no face was found in any."""
    counts = Counter(label for label in labels if label is not None)
    return counts.most_common(1)[0][0] if counts else None
