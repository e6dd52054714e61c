"""Annotator agreement: agreement of annotators with a label and with each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fer_lightning.results.intervals import accuracy_interval


def consensus_agreement(votes: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Agreement of the majority vote with the label.

    Args:
        votes: Counts `(N, V)`, a column per possible answer.
        label: Column of each image's label `(N,)`.

    Returns:
        `(N,)`: 1 if the label has most votes, 0 if another answer has, and 1/t if the label is one of t tied answers,
        the expectation when ties are broken at random.
    """
    first = votes == votes.max(axis=1, keepdims=True)
    return first[np.arange(len(votes)), label] / first.sum(axis=1)


def annotator_agreement(votes: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Probability `(N,)` that a random annotator gives the label; arguments as in `consensus_agreement`."""
    return votes[np.arange(len(votes)), label] / votes.sum(axis=1)


def best_against_annotator(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Probability `(N,)` that the best answer is that of a random annotator.

    It is the largest expected accuracy of any classifier on labels of one annotator each.

    Args:
        votes: Counts `(N, V)`.
        num_classes: Number K of classes, the first columns; other answers (unknown, no face) are never correct.
    """
    return votes[:, :num_classes].max(axis=1) / votes.sum(axis=1)


def annotator_against_the_others(votes: np.ndarray) -> np.ndarray:
    """Probability `(N,)` that a random annotator gives the majority vote of the others.

    It is the accuracy of one person on the consensus of the others.

    Args:
        votes: Counts `(N, V)`, at least two votes per image.

    Readings:
        If t answers of the others tie, each of them is correct with probability 1/t.
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
    """Means of a measure by split and class.

    Args:
        measure: Name of the measure.
        values: Probability of agreement of each image `(N,)`.
        split: Name of each image's split `(N,)`.
        label: Class of each image `(N,)`.
        classes: The K class names.

    Returns:
        Columns `measure`, `split` and `class` (each also `"all"`), `images`, `agreement`, `low`, `high`; no rows for
        classes without images.

    Readings:
        The interval is Wilson's for one annotation per image, comparable with that of a test accuracy. The mean
        probability itself has a narrower one.
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
