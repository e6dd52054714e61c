"""FERPlus votes: their files (`fer2013new.csv`, and `label.csv` of the generated folders) and the rules for labels.

Source of the rules: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", ICMI 2016, and for what the paper leaves open (ties, votes for unknown) the owner's reader,
https://github.com/microsoft/FERPlus (`src/ferplus.py`).

Votes are `(N, 10)`: the eight emotions of `EMOTIONS`, then unknown and NF (no face).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data.labels import canonical_name
from fer_lightning.data.text_tables import column_places, plain_name, read_rows, shown, whole_number

ANNOTATORS = 10
EMOTIONS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
DROPPED = -1
_COVERED_SHARE = 0.75
_MOST_EMOTIONS = 3

_VOTE_COLUMNS = (*EMOTIONS, "unknown", "nf")


@dataclass(frozen=True)
class VoteTable:
    """Rows of a file of votes.

    Attributes:
        frame: Every row of the file: `usage` (str), `image` (str, `""` where the owner dropped the image) and `valid`
            (bool).
        votes: Counts `(N, 10)` in the order above; meaningless where a row is not valid.
        bad: One message for each row that is not valid.
    """

    frame: pd.DataFrame
    votes: np.ndarray
    bad: tuple[str, ...]


def read_votes(path: Path) -> VoteTable:
    """Reads `fer2013new.csv`, whose columns may be in any order.

    Raises:
        UserError: A column is missing.
    """
    header, *lines = read_rows(path)
    columns = [canonical_name(plain_name(name)) for name in header]
    places = column_places(path, columns, ("usage", "image name", *_VOTE_COLUMNS), "the owner's fer2013new.csv")
    return _table(
        path, [[line[place] for place in places] if len(line) == len(columns) else [line[0], ""] for line in lines]
    )


def read_folder_votes(path: Path, usage: str) -> VoteTable:
    """Reads the headerless `label.csv` of a generated folder (image name, in newer copies a face box, ten counts)."""
    rows = []
    for name, *fields in read_rows(path):
        with_box = len(fields) == len(_VOTE_COLUMNS) + 1 and fields[0].startswith("(") and fields[0].endswith(")")
        rows.append([usage, name, *(fields[1:] if with_box else fields)])
    return _table(path, rows)


def _table(path: Path, rows: list[list[str]]) -> VoteTable:
    votes = np.zeros((len(rows), len(_VOTE_COLUMNS)), np.int64)
    known: list[tuple[str, str, bool]] = []
    bad: list[str] = []
    for number, row in enumerate(rows):
        counts = [whole_number(count, 0, ANNOTATORS) for count in row[2:]]
        whole = [count for count in counts if count is not None]
        valid = len(whole) == len(counts) == len(_VOTE_COLUMNS) and 1 <= sum(whole) <= ANNOTATORS
        if len(whole) == len(counts) == len(_VOTE_COLUMNS):
            votes[number] = whole
        if not valid:
            bad.append(
                f"{path} row {number + 1}: expected {len(_VOTE_COLUMNS)} counts of votes by {ANNOTATORS} annotators, "
                f"found {shown(','.join(row[2:]))}"
            )
        known.append((row[0], row[1], valid))
    return VoteTable(pd.DataFrame(known, columns=["usage", "image", "valid"]), votes, tuple(bad))


def without_single_votes(votes: np.ndarray) -> np.ndarray:
    """Votes with single votes set to 0, since they count as mistakes of an annotator."""
    return np.where(votes > 1, votes, 0)


def majority(votes: np.ndarray) -> np.ndarray:
    """Majority label: the emotion that has more than half of the votes of an image.

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
    """Distribution of the top emotions of every image: the owner's "probability" and "crossentropy" modes.

    The most voted emotions are taken, tied ones together, until they cover 75 % of the votes or are three. Votes for
    unknown or NF end the search. An image is dropped where the emotions taken cover half of the votes or less, where a
    tie makes them more than three, or where unknown or NF comes first. The owner's "probability" mode draws one label
    from this distribution in every epoch; cross-entropy against the distribution is its expectation.

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
    """Distribution of all votes for emotions (not one of the owner's modes, but common in later work).

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
