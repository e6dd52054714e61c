"""Annotator agreement: how far annotators agree with a label, and with each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fer_lightning.results.intervals import accuracy_interval


def consensus_agreement(votes: np.ndarray, label: np.ndarray) -> np.ndarray:
    """How far the emotion with most votes is the label.

    Args:
        votes: Counts `(N, V)`, one column a possible answer.
        label: Column of each image's label `(N,)`.

    Returns:
        `(N,)`: 1 where the label has most votes, 0 where another has, and 1/t where t answers tie and it is one of
        them, which is what breaking ties at random expects.
    """
    first = votes == votes.max(axis=1, keepdims=True)
    return first[np.arange(len(votes)), label] / first.sum(axis=1)


def annotator_agreement(votes: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Chance `(N,)` that one annotator, drawn at random, gives the label; arguments as in `consensus_agreement`."""
    return votes[np.arange(len(votes)), label] / votes.sum(axis=1)


def best_against_annotator(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Chance `(N,)` that the best possible answer is that of one annotator, drawn at random.

    No classifier, whatever it sees, can expect more against labels of one annotator each.

    Args:
        votes: Counts `(N, V)`.
        num_classes: A classifier answers with one of the first K columns; others (unknown, no face) are never right.
    """
    return votes[:, :num_classes].max(axis=1) / votes.sum(axis=1)


def annotator_against_the_others(votes: np.ndarray) -> np.ndarray:
    """Chance `(N,)` that one annotator, drawn at random, gives the answer with most votes of the others.

    It is the accuracy of one person, judged as a classifier is: by a consensus in which it had no vote.

    Args:
        votes: Counts `(N, V)`, at least two votes an image.

    Readings:
        Where the others tie, each of their t first answers is right with 1/t.
    """
    chance = np.zeros(len(votes))
    for answer in range(votes.shape[1]):
        others = votes - (np.arange(votes.shape[1]) == answer)
        gave_it = votes[:, answer] > 0
        agrees = consensus_agreement(others, np.full(len(votes), answer))
        chance += np.where(gave_it, votes[:, answer] * agrees, 0.0)
    return chance / votes.sum(axis=1)


def summarise(
    measure: str, values: np.ndarray, split: np.ndarray, label: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Averages one measure over each split and over all images, for all classes together and for each.

    Args:
        measure: Its name.
        values: Chance of agreement of each image `(N,)`.
        split: Name of each image's split `(N,)`.
        label: Class of each image `(N,)`.
        classes: The K class names.

    Returns:
        Columns `measure`, `split` (`"all"` for all together), `class` (`"all"`), `images`, `agreement`, `low`, `high`;
        nothing where there is no image.

    Readings:
        The interval is Wilson's for one draw an image: what a single annotation of so many images would score, as a
        test accuracy is a single draw too. The average chance itself is known better than that.
    """
    rows = []
    for part in (*dict.fromkeys(split.tolist()), "all"):
        for index, name in ((None, "all"), *enumerate(classes)):
            chosen = (split == part) | (part == "all")
            if index is not None:
                chosen &= label == index
            if count := int(chosen.sum()):
                total = float(values[chosen].sum())
                low, high = accuracy_interval(round(total), count)
                rows.append((measure, part, name, count, total / count, low, high))
    return pd.DataFrame(rows, columns=["measure", "split", "class", "images", "agreement", "low", "high"])
