"""Which rows of a store show the same picture: found once, then kept beside the store."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data.audit.exact_copies import exact_pairs, pixel_digests
from fer_lightning.data.audit.near_copies import near_pairs
from fer_lightning.data.cache_folder import make_once
from fer_lightning.data.store import Images

VERSION = 1  # part of the name of what is kept; raise it when a rule of what is a copy changes


class Copies:
    """Copies among the images of a store, as training sees them: decoded, in the size of the store.

    Args:
        images: The store.
        rows: The rows that can be decoded `(N,)`, ascending.
        folder: Name of the store's folder; what is found is kept in folders whose names begin with it.
    """

    def __init__(self, images: Images, rows: np.ndarray, folder: Path) -> None:
        self._images = images
        self._rows = rows
        self._folder = folder

    @cached_property
    def _of_pixels(self) -> tuple[np.ndarray, np.ndarray]:
        def make(partial: Path) -> None:
            digests, blank = np.zeros(self._rows[-1] + 1, np.uint64), np.zeros(self._rows[-1] + 1, bool)
            digests[self._rows], blank[self._rows] = pixel_digests(self._images, self._rows)
            np.savez(partial / "digests.npz", digests=digests, blank=blank)

        folder = self._folder.with_name(f"{self._folder.name}-digests{VERSION}")
        make_once(folder, make)
        with np.load(folder / "digests.npz") as kept:
            return kept["digests"], kept["blank"]

    @property
    def digests(self) -> np.ndarray:
        """Digest of the pixels of each row of the store, uint64; 0 for rows that cannot be decoded."""
        return self._of_pixels[0]

    @property
    def blank(self) -> np.ndarray:
        """Whether each row of the store is of a single colour, bool."""
        return self._of_pixels[1]

    @cached_property
    def near(self) -> pd.DataFrame:
        """Pairs of near and mirrored copies, without exact ones: the table of `near_pairs`, over all rows."""
        _, places = np.unique(self.digests[self._rows], return_index=True)
        different = self._rows[np.sort(places)]
        different = different[~self.blank[different]]

        def make(partial: Path) -> None:
            near_pairs(self._images, different).to_parquet(partial / "near.parquet", index=False)

        folder = self._folder.with_name(f"{self._folder.name}-near{VERSION}")
        make_once(folder, make)
        return self._of_all_rows(pd.read_parquet(folder / "near.parquet"))

    def _of_all_rows(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """What resembles an image resembles its exact copies."""
        members = pd.DataFrame({"digest": self.digests[self._rows], "row": self._rows})
        for side in ("first", "second"):
            pairs = pairs.assign(digest=self.digests[pairs[side]]).merge(members, on="digest")
            pairs = pairs.assign(**{side: pairs["row"]}).drop(columns=["digest", "row"])
        ordered = np.sort(pairs[["first", "second"]].to_numpy(np.int64), axis=1)
        pairs = pairs.assign(first=ordered[:, 0], second=ordered[:, 1])
        return pairs.sort_values(["first", "second"]).reset_index(drop=True)

    def exact(self) -> pd.DataFrame:
        """Pairs of exact copies that are not blank: the columns of `near_pairs`."""
        rows = self._rows[~self.blank[self._rows]]
        pairs = rows[exact_pairs(self.digests[rows])]
        return pd.DataFrame(
            {"first": pairs[:, 0], "second": pairs[:, 1], "kind": "exact", "distance": 0, "correlation": 1.0}
        )

    def present(self, rows: np.ndarray, others: np.ndarray, *, near: bool) -> np.ndarray:
        """Tells which rows have a copy among others.

        Args:
            rows: Rows of the store `(N,)`.
            others: Other rows of the store `(M,)`.
            near: Whether near and mirrored copies count too.

        Returns:
            `(N,)` bool.
        """
        found = np.isin(self.digests[rows], self.digests[others])
        if near:
            first, second = self.near["first"].to_numpy(), self.near["second"].to_numpy()
            found |= np.isin(rows, first[np.isin(second, others)]) | np.isin(rows, second[np.isin(first, others)])
        return found
