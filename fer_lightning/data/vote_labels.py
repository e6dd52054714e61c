"""FER2013's own labels beside the votes of FERPlus for the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lightning.data.fer2013 import CODES, CSV_NAMES
from fer_lightning.data.fer2013_splits import USAGES
from fer_lightning.data.ferplus import VOTES_NAME, align_rows
from fer_lightning.data.ferplus_rules import EMOTIONS
from fer_lightning.data.ferplus_votes import read_votes
from fer_lightning.data.layouts import not_found
from fer_lightning.data.locate import find_file
from fer_lightning.data.pixel_csv import read_pixel_csv


@dataclass(frozen=True)
class VoteLabels:
    """Two annotations of the same images.

    Attributes:
        usage: Official split of each image `(N,)`.
        label: FER2013's label `(N,)`, as an index into `ferplus_rules.EMOTIONS`.
        votes: FERPlus' votes `(N, 10)`: `EMOTIONS`, then unknown and no face; every image has a vote.
        left_out: Rows that cannot be used.
    """

    usage: np.ndarray
    label: np.ndarray
    votes: np.ndarray
    left_out: int


def read_vote_labels(root: str | None) -> VoteLabels:
    """Reads `fer2013new.csv` beside `fer2013.csv` or one of its siblings.

    Raises:
        UserError: One of the files is missing, or they do not fit together.
    """
    votes_path, pixels_path = find_file(root, (VOTES_NAME,)), find_file(root, CSV_NAMES)
    if not votes_path or not pixels_path:
        raise not_found("ferplus", root)
    votes, pixels = read_votes(votes_path), read_pixel_csv(pixels_path, len(CODES), USAGES)
    rows = align_rows(votes, pixels, votes_path, pixels_path)
    usable = votes.frame["valid"].to_numpy()[rows]
    columns = np.array([EMOTIONS.index(name) for name in CODES])
    return VoteLabels(
        usage=votes.frame["usage"].to_numpy(str)[rows][usable],
        label=columns[pixels.frame["code"]][usable],
        votes=votes.votes[rows][usable],
        left_out=len(pixels.bad) + int((~usable).sum()),
    )
