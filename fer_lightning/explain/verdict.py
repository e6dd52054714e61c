"""Deletion and insertion as numbers: areas, and whether a map does better than a random one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from fer_lightning.evaluation.paired_bootstrap import bootstrap_difference
from fer_lightning.explain.faithfulness import Curves, area

SCORES = ("deletion", "insertion")
_FEWEST = 6  # with fewer faces, no Wilcoxon test can reach p < 0.05


def area_table(
    faces: Sequence[str],
    curves: Mapping[str, Curves],
    moved: Mapping[str, Sequence[Curves]],
    noise: Sequence[Curves],
) -> pd.DataFrame:
    """Areas below the curves of each face.

    Args:
        faces: Names of the N faces.
        curves: Those of the maps, by name of the map.
        moved: For each map, those of its copies at random places, one a seed.
        noise: Those of maps of noise, one a seed.

    Returns:
        One row a face, map and score: the columns `face`, `map`, `score` (`deletion` or `insertion`), `area`,
        `area_moved` and `area_noise`; the last two are means over the seeds.
    """
    rows = []
    for name, own in curves.items():
        for score in SCORES:
            areas = zip(faces, _areas([own], score), _areas(moved[name], score), _areas(noise, score))
            rows += [(face, name, score, *values) for face, *values in areas]
    return pd.DataFrame(rows, columns=["face", "map", "score", "area", "area_moved", "area_noise"])


def _areas(curves: Sequence[Curves], score: str) -> np.ndarray:
    return np.mean([area(getattr(own, score)) for own in curves], axis=0)


def compare(areas: pd.DataFrame) -> pd.DataFrame:
    """Means over the faces, and the difference to random maps, paired by face.

    Args:
        areas: As `area_table` returns it.

    Returns:
        One row a map, score and kind of `random` map (`moved` or `noise`): the columns `map`, `score`, `random`, `n`,
        `area`, `area_random`, `difference` (map minus random), its 95 % interval `low`, `high` (faces redrawn, see
        `bootstrap_difference`) and `p` of Wilcoxon's signed-rank test, two-sided.
    """
    rows = []
    for (name, score), own in areas.groupby(["map", "score"], sort=False):
        for random in ("moved", "noise"):
            first, second = own["area"].to_numpy(), own[f"area_{random}"].to_numpy()
            low, high = bootstrap_difference(first, second)
            p = float(wilcoxon(first, second).pvalue) if (first != second).any() else 1.0
            rows.append(
                (name, score, random, len(own), first.mean(), second.mean(), (first - second).mean(), low, high, p)
            )
    columns = ["map", "score", "random", "n", "area", "area_random", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=columns)


def told(comparison: pd.DataFrame) -> list[str]:
    """What is to be said of each map: whether it beats the same map at random places, and how noise does.

    Args:
        comparison: As `compare` returns it.
    """
    return [_sentence(str(name), own) for name, own in comparison.groupby("map", sort=False)]


def _sentence(name: str, own: pd.DataFrame) -> str:
    moved, noise = (own[own["random"] == random].set_index("score") for random in ("moved", "noise"))
    faces = int(own["n"].iloc[0])
    if faces < _FEWEST:
        areas = ", ".join(f"{score} {row.area:.3f} against {row.area_random:.3f}" for score, row in moved.iterrows())
        few = "one face is" if faces == 1 else f"{faces} faces are"
        return f"{name}: {few} too few to tell whether it beats the same map at random places ({areas})."
    better = [score for score in SCORES if _better(score, moved.loc[score])]
    verdict = "beats" if better else "does not beat"
    where = {0: "", 1: f" in {' and '.join(better)} only", 2: " in deletion and insertion"}[len(better)]
    numbers = "; ".join(
        f"{score} {row.area:.3f} against {row.area_random:.3f} (difference {row.difference:+.3f}, 95 % interval "
        f"{row.low:+.3f} to {row.high:+.3f}, p = {row.p:.2g}; noise: {noise.loc[score, 'area_random']:.3f})"
        for score, row in moved.iterrows()
    )
    return f"{name} {verdict} the same map at random places{where} over {faces} faces: {numbers}."


def _better(score: str, row: pd.Series) -> bool:
    """Whether the whole interval lies on the good side: small areas for deletion, large ones for insertion."""
    return bool(row["high"] < 0 if score == "deletion" else row["low"] > 0)
