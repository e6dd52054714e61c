"""Which rows of a store show the same picture: found once, then kept beside the store."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

from fer_lightning.data.duplicates.exact import exact_pairs, pixel_digests
from fer_lightning.data.duplicates.near import CROWD, join, near_pairs
from fer_lightning.data.store import Images
from fer_lightning.files import make_once

KINDS = ("exact", "near", "mirrored")
_PAIRS = 500_000  # that are counted at a time
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

    @property
    def near(self) -> pd.DataFrame:
        """Pairs of near and mirrored copies, without exact ones: `different` over all rows but those of crowds."""
        return self._of_all_rows(self.different.copy())

    @cached_property
    def different(self) -> pd.DataFrame:
        """Pairs of near and mirrored copies, one row for each different picture: the table of `near_pairs`."""
        _, places = np.unique(self.digests[self._rows], return_index=True)
        different = self._rows[np.sort(places)]
        different = different[~self.blank[different]]

        def make(partial: Path) -> None:
            near_pairs(self._images, different).to_parquet(partial / "near.parquet", index=False)

        folder = self._folder.with_name(f"{self._folder.name}-near{VERSION}")
        make_once(folder, make)
        kept = pd.read_parquet(folder / "near.parquet")
        small = {"first": np.int32, "second": np.int32, "distance": np.int8, "kind": pd.CategoricalDtype(KINDS)}
        return kept.astype(small, copy=False)

    def _of_all_rows(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """What resembles an image resembles its exact copies; of a crowd of these the first stands for all."""
        keys, group, sizes = np.unique(self.digests[self._rows], return_inverse=True, return_counts=True)
        members = self._rows[np.argsort(group, kind="stable")].astype(np.int32)
        starts = (np.cumsum(sizes) - sizes).astype(np.int32)
        counted = np.where(sizes > CROWD, 1, sizes).astype(np.int32)
        for side in ("first", "second"):
            own = np.searchsorted(keys, self.digests[pairs[side]]).astype(np.int32)
            times = counted[own]
            pairs = pairs.loc[pairs.index.repeat(times)].reset_index(drop=True) if times.max(initial=1) > 1 else pairs
            first_of_own = np.cumsum(times, dtype=np.int32) - times
            place = np.arange(times.sum(), dtype=np.int32) - first_of_own.repeat(times)
            pairs[side] = members[starts[own].repeat(times) + place]
        pairs["first"], pairs["second"] = np.sort(pairs[["first", "second"]].to_numpy(), axis=1).T
        return pairs.sort_values(["first", "second"], ignore_index=True)

    def exact(self) -> pd.DataFrame:
        """Pairs of exact copies that are not blank: the columns of `near_pairs`; of crowds each with the next one."""
        rows = self._rows[~self.blank[self._rows]]
        pairs = rows[exact_pairs(self.digests[rows], CROWD)]
        kinds = pd.Categorical.from_codes(np.full(len(pairs), KINDS.index("exact"), np.int8), KINDS)
        first, second = pairs.astype(np.int32).T
        return pd.DataFrame({"first": first, "second": second, "kind": kinds}).assign(
            distance=np.int8(0), correlation=1.0
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
            first, second = (self.different[side].to_numpy() for side in ("first", "second"))
            there = np.isin(self.digests, self.digests[others])
            copied = np.zeros(len(self.digests), bool)
            copied[first[there[second]]] = copied[second[there[first]]] = True
            found |= np.isin(self.digests[rows], self.digests[copied])
            # Of a crowd not all pairs are known, but who belongs to it.
            groups, crowded = self._groups
            found |= crowded[groups[rows]] & np.isin(groups[rows], groups[others])
        return found

    @cached_property
    def _groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Group of each row of the store by exact and other copies, and whether each group has a crowd of pairs."""
        _, groups = np.unique(self.digests, return_inverse=True)
        groups = groups.astype(np.int32)
        ends = groups[self.different[["first", "second"]].to_numpy()]
        degrees = sum(np.bincount(ends[:, side], minlength=len(groups)) for side in (0, 1))
        # Positions here are pictures: the first positions stand for the numbers of the groups.
        joined = join(np.arange(len(groups)), ends)
        crowded = np.zeros(len(groups), bool)
        crowded[joined[np.flatnonzero(degrees >= CROWD)]] = True
        return joined[groups], crowded

    def group_sizes(self) -> np.ndarray:
        """Numbers of the images of each group that shows one picture, the largest first; blank images left out."""
        rows = self._rows[~self.blank[self._rows]]
        sizes = np.bincount(self._groups[0][rows])
        return np.sort(sizes[sizes > 1])[::-1]

    def count(self, rows: np.ndarray, kinds: np.ndarray, number: int) -> dict[str, np.ndarray]:
        """Counts pairs of copies by what their images are, without listing them; blank images left out.

        Args:
            rows: Rows of the store `(N,)`.
            kinds: What each of these images is, `(N,)` numbers below `number`.
            number: How many things an image can be.

        Returns:
            For `"exact"`, `"near"` and `"mirrored"` the pairs of each two things, symmetric `(number, number)` int64.
            A pair of two equal things counts once, on the diagonal; of crowds not all near and mirrored pairs count.
        """
        kept = ~self.blank[rows]
        digests, place = np.unique(self.digests[rows[kept]], return_inverse=True)
        held = coo_array((np.ones(len(place), np.int64), (place, kinds[kept])), shape=(len(digests), number)).tocsr()
        exact = (held.T @ held).toarray()
        itself = np.asarray(held.sum(axis=0)).reshape(-1)
        counted = {"exact": exact - np.diag(np.diag(exact)) + np.diag((np.diag(exact) - itself) // 2)}
        counted |= {kind: np.zeros((number, number), np.int64) for kind in ("near", "mirrored")}
        of_row = np.searchsorted(digests, self.digests).clip(max=max(len(digests) - 1, 0)).astype(np.int32)
        here = np.isin(self.digests, digests)
        for start in range(0, len(self.different), _PAIRS):
            some = self.different.iloc[start : start + _PAIRS]
            some = some[here[some["first"]] & here[some["second"]]]
            for kind, same in some.groupby("kind", observed=True):
                one, other = (held[of_row[same[side]]] for side in ("first", "second"))
                pairs = (one.T @ other).toarray()
                counted[str(kind)] += pairs + pairs.T - np.diag(np.diag(pairs))
        return counted
