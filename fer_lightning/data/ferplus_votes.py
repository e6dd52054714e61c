"""The files that hold the FERPlus votes: `fer2013new.csv` and the `label.csv` of the generated folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data.ferplus_rules import EMOTIONS
from fer_lightning.data.labels import canonical_name
from fer_lightning.data.text_tables import column_places, plain_name, read_rows, shown, whole_number

ANNOTATORS = 10
_VOTE_COLUMNS = (*EMOTIONS, "unknown", "nf")


@dataclass(frozen=True)
class VoteTable:
    """The rows of a file of votes.

    Attributes:
        frame: Every row of the file: `usage` (str), `image` (str, `""` where the owner dropped the image) and `valid`
            (bool).
        votes: Counts `(N, 10)` in the order of `ferplus_rules`; nothing to go by where a row is not valid.
        bad: One message for each row that is not valid.
    """

    frame: pd.DataFrame
    votes: np.ndarray
    bad: tuple[str, ...]


def read_votes(path: Path) -> VoteTable:
    """Reads `fer2013new.csv`, whose columns may stand in any order.

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
