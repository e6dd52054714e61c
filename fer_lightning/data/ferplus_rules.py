"""How ten annotators' votes become FERPlus labels: the rules of the owner's reader.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", ICMI 2016, and https://github.com/microsoft/FERPlus (`src/ferplus.py`), which decides where the paper is
silent (ties, votes for unknown).

Votes are `(N, 10)`: the eight emotions of `EMOTIONS`, then unknown and NF (no face).
"""

from __future__ import annotations

import numpy as np

EMOTIONS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
DROPPED = -1
_COVERED_SHARE = 0.75
_MOST_EMOTIONS = 3


def without_single_votes(votes: np.ndarray) -> np.ndarray:
    """Sets single votes to 0: they count as mistakes of an annotator."""
    return np.where(votes > 1, votes, 0)


def majority(votes: np.ndarray) -> np.ndarray:
    """One emotion per image, where it has more than half of the votes.

    The sum counts the votes for unknown and NF, but no single votes.

    Args:
        votes: `(N, 10)` counts.

    Returns:
        Index into `EMOTIONS` `(N,)`; `DROPPED` where nothing has more than half, or unknown or NF has.
    """
    kept = without_single_votes(votes)
    winner = kept.argmax(axis=1)
    usable = (2 * kept.max(axis=1) > kept.sum(axis=1)) & (winner < len(EMOTIONS))
    return np.where(usable, winner, DROPPED)


def probability(votes: np.ndarray) -> np.ndarray:
    """The top emotions of every image as a distribution: the owner's "probability" and "crossentropy" modes.

    The most voted emotions are taken, tied ones together, until they cover 75 % of the votes or are three. Votes for
    unknown or NF end the search. An image is dropped where the emotions taken cover half of the votes or less, where a
    tie makes them more than three, or where unknown or NF comes first. Where the owner's "probability" mode draws one
    label from this distribution in every epoch, cross-entropy against the distribution is its expectation.

    Args:
        votes: `(N, 10)` counts.

    Returns:
        Distributions `(N, 8)` over `EMOTIONS`; a row of zeros is dropped.
    """
    distributions = np.zeros((len(votes), len(EMOTIONS)))
    for row, kept in enumerate(without_single_votes(votes)):
        distributions[row] = _top_emotions(kept)
    return distributions


def _top_emotions(kept: np.ndarray) -> np.ndarray:
    total, left = kept.sum(), kept.copy()
    taken = np.zeros(len(EMOTIONS))
    covered = 0
    while covered < _COVERED_SHARE * total and np.count_nonzero(taken) < _MOST_EMOTIONS:
        most = left.max()
        tied = np.flatnonzero(left == most)
        emotions = tied[tied < len(EMOTIONS)]
        taken[emotions] = most
        if len(emotions) < len(tied):
            break
        left[tied] = 0
        covered += most * len(tied)
    if 2 * taken.sum() <= total or np.count_nonzero(taken) > _MOST_EMOTIONS:
        return np.zeros(len(EMOTIONS))
    return taken / taken.sum()


def soft_votes(votes: np.ndarray) -> np.ndarray:
    """All votes for emotions as a distribution (not one of the owner's modes, but common in later work).

    An image is dropped where no emotion has two votes, or where unknown or NF has more votes than every emotion.

    Args:
        votes: `(N, 10)` counts.

    Returns:
        Distributions `(N, 8)` over `EMOTIONS`; a row of zeros is dropped.
    """
    kept = without_single_votes(votes)
    emotions = kept[:, : len(EMOTIONS)].astype(float)
    total = emotions.sum(axis=1, keepdims=True)
    usable = (total > 0) & (emotions.max(axis=1) >= kept[:, len(EMOTIONS) :].max(axis=1))[:, None]
    return np.divide(emotions, total, out=np.zeros_like(emotions), where=usable)
