"""The files that hold the FERPlus votes: `fer2013new.csv` and the `label.csv` of the generated folders."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data.ferplus_rules import EMOTIONS
from fer_lightning.data.labels import canonical_name
from fer_lightning.errors import UserError

_VOTE_COLUMNS = (*EMOTIONS, "unknown", "nf")


@dataclass(frozen=True)
class VoteTable:
    """The rows of a file of votes.

    Attributes:
        frame: Every row of the file: `usage` (str), `image` (str, `""` where the owner dropped the image) and `valid`
            (bool).
        votes: Counts `(N, 10)` in the order of `ferplus_rules`; zeros where a row is not valid.
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
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        columns = [canonical_name(name) for name in next(lines, [])]
        needed = ("usage", "image name", *_VOTE_COLUMNS)
        if missing := [name for name in needed if name not in columns]:
            raise UserError(f"{path} has no column {', '.join(missing)}: expected the owner's fer2013new.csv.")
        places = [columns.index(name) for name in needed]
        rows = [
            [line[place] for place in places] if len(line) == len(columns) else line for line in lines if "".join(line)
        ]
    return _table(path, rows)


def read_folder_votes(path: Path, usage: str) -> VoteTable:
    """Reads the headerless `label.csv` of a generated folder (image name, in newer copies a face box, ten counts)."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [[usage, line[0], *line[-len(_VOTE_COLUMNS) :]] for line in csv.reader(file) if "".join(line)]
    return _table(path, rows)


def _table(path: Path, rows: list[list[str]]) -> VoteTable:
    votes = np.zeros((len(rows), len(_VOTE_COLUMNS)), np.int64)
    known: list[tuple[str, str, bool]] = []
    bad: list[str] = []
    for number, row in enumerate(rows):
        counts = row[2:]
        valid = len(counts) == len(_VOTE_COLUMNS) and all(count.strip().isdecimal() for count in counts)
        if valid:
            votes[number] = [int(count) for count in counts]
        else:
            bad.append(
                f"{path} row {number + 1}: expected {len(_VOTE_COLUMNS)} counts of votes, found {','.join(counts)!r}"
            )
        known.append((row[0].strip(), row[1].strip() if len(row) > 1 else "", valid))
    return VoteTable(pd.DataFrame(known, columns=["usage", "image", "valid"]), votes, tuple(bad))
