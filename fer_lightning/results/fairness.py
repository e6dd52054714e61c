"""Scores by group of people, and the difference between the best and the worst group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from fer_lightning.results.intervals import accuracy_interval
from fer_lightning.results.run_record import PROBABILITY_PREFIX

MIN_IMAGES = 30
_RESAMPLES = 9999


def score_by_group(
    predictions: pd.DataFrame, attributes: pd.DataFrame, classes: Sequence[str], least: int = MIN_IMAGES
) -> dict[str, Any]:
    """Accuracy and macro-F1 by group of people, and the difference between the best and the worst group.

    Args:
        predictions: Columns `id`, `target` and `prob_<class>` of one split.
        attributes: Attributes of the people by the id of the image, a categorical column each; NaN where not known.
        classes: The K class names.
        least: Number of images from which a group counts for the difference.

    Returns:
        For each attribute: `groups` with `n`, `classes` (number of classes that have images), `accuracy` with its 95 %
        Wilson interval and `macro_f1` with its 95 % bootstrap interval (`_low`, `_high`) of each group; `too_few`, the
        groups with fewer images than `least`; `unknown`, the number of images without the attribute; and `gap`, for
        `accuracy` and `macro_f1` the `difference` between the groups `best` and `worst` with its interval `low` and
        `high`. `gap` is empty where fewer than two groups have enough images.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, sections 8.3 and 13.3: the images of each
    group are resampled on their own; 9,999 resamples, the same in every call.

    Readings:
        - Macro-F1 averages over the classes that have images or were predicted in the group, as it does in a split.
        - The best and the worst group are chosen by the same images that estimate their difference, which is therefore
          too large on average. The interval is the percentile interval at level 1 - 0.05 / m, where m is the number of
          pairs of groups (Bonferroni): it covers the difference between these two groups whichever pair is chosen. In
          simulations with five groups of equal accuracy and 30 to 600 images each, it excluded 0 in 4 to 5 % of the
          samples, and an interval of level 0.95 in 24 to 25 %.
        - Groups may differ because their images show other expressions: nothing here corrects for that.
    """
    columns = [PROBABILITY_PREFIX + name for name in classes]
    predicted = predictions[columns].to_numpy().argmax(axis=1)
    targets = predictions["target"].to_numpy(np.int64)
    rows = attributes.reindex(predictions["id"])
    return {
        str(name): _score_attribute(targets, predicted, rows[name].astype("category"), least) for name in attributes
    }


def _score_attribute(targets: np.ndarray, predicted: np.ndarray, groups: pd.Series, least: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    scored: dict[str, dict[str, Any]] = {}
    resampled: dict[str, dict[str, np.ndarray]] = {}
    for group in groups.cat.categories:
        chosen = (groups == group).to_numpy()
        if not (count := int(chosen.sum())):
            continue
        pairs = np.stack([targets[chosen], predicted[chosen]], axis=1)
        cells, counts = np.unique(pairs, axis=0, return_counts=True)
        # Only the number of drawn images by true and predicted class matters, and it is multinomial.
        drawn = _scores(cells, rng.multinomial(count, counts / count, size=_RESAMPLES))
        accuracy, macro_f1 = (float(score[0]) for score in _scores(cells, counts[None]).values())
        low, high = accuracy_interval(round(accuracy * count), count)
        f1_low, f1_high = map(float, np.quantile(drawn["macro_f1"], [0.025, 0.975]))
        scored[str(group)] = {
            "n": count,
            "classes": len(np.unique(targets[chosen])),
            **{"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high},
            **{"macro_f1": macro_f1, "macro_f1_low": f1_low, "macro_f1_high": f1_high},
        }
        resampled[str(group)] = drawn
    enough = [group for group, scores in scored.items() if scores["n"] >= least]
    return {
        "groups": scored,
        "too_few": [group for group in scored if group not in enough],
        "unknown": int(groups.isna().sum()),
        "gap": {
            score: _gap({group: scored[group][score] for group in enough}, score, resampled)
            for score in ("accuracy", "macro_f1")
            if len(enough) > 1
        },
    }


def _gap(scores: dict[str, float], score: str, resampled: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    worst, *_, best = sorted(scores, key=scores.__getitem__)
    pairs = len([*combinations(scores, 2)])
    tail = 0.05 / pairs / 2
    low, high = np.quantile(resampled[best][score] - resampled[worst][score], [tail, 1 - tail])
    difference = scores[best] - scores[worst]
    return {"best": best, "worst": worst, "difference": difference, "low": float(low), "high": float(high)}


def _scores(cells: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Scores `(B,)` of B samples.

    Args:
        cells: True and predicted class `(M, 2)`, each pair once.
        counts: Number of images of each pair `(B, M)`.
    """
    classes = np.unique(cells)
    of_target, of_predicted = (cells[:, side, None] == classes for side in (0, 1))
    right = counts @ (of_target & of_predicted)
    sizes = counts @ (of_target.astype(np.int64) + of_predicted)
    present = sizes > 0
    f1 = 2 * right / np.where(present, sizes, 1)
    return {"accuracy": right.sum(axis=1) / counts.sum(axis=1), "macro_f1": f1.sum(axis=1) / present.sum(axis=1)}


def groups_table(fairness: dict[str, Any]) -> pd.DataFrame:
    """Table of the groups, one row each.

    Args:
        fairness: Result of `score_by_group`.

    Returns:
        The columns `attribute` and `group`, those of `groups` there, and `in_gap`: whether the group has enough images
        for the difference.
    """
    rows = [
        {"attribute": attribute, "group": group, **values, "in_gap": group not in scores["too_few"]}
        for attribute, scores in fairness.items()
        for group, values in scores["groups"].items()
    ]
    return pd.DataFrame(rows)
