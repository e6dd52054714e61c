"""Index of the copies in a store, computed once and cached beside the store."""

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
_PAIRS = 500_000  # pairs that are counted at a time
VERSION = 1  # part of the name of the cache; increase it when the definition of a copy changes


class Copies:
    """Copies among the images of a store, compared as training sees them: decoded, in the size of the store.

    Args:
        images: Store of the images.
        rows: Rows that can be decoded `(N,)`, ascending.
        folder: Folder of the store; results are cached in folders whose names begin with its name.
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
        """Digests of the pixels of each row of the store, uint64; 0 for rows that cannot be decoded."""
        return self._of_pixels[0]

    @property
    def blank(self) -> np.ndarray:
        """Whether each row of the store is of a single colour, bool."""
        return self._of_pixels[1]

    @property
    def near(self) -> pd.DataFrame:
        """Pairs of near and mirrored copies, without exact ones: `different` for all rows except crowds."""
        return self._of_all_rows(self.different.copy())

    @cached_property
    def different(self) -> pd.DataFrame:
        """Pairs of near and mirrored copies among different pictures: the table of `near_pairs`."""
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
        """Pairs of different pictures repeated for their exact copies; the first of a crowd represents all."""
        keys, group, sizes = np.unique(self.digests[self._rows], return_inverse=True, return_counts=True)
        members = self._rows[np.argsort(group, kind="stable")].astype(np.int32)
        starts = (np.cumsum(sizes) - sizes).astype(np.int32)
        counted = np.where(sizes > CROWD, 1, sizes).astype(np.int32)
        for side in ("first", "second"):
            groups = np.searchsorted(keys, self.digests[pairs[side]]).astype(np.int32)
            times = counted[groups]
            pairs = pairs.loc[pairs.index.repeat(times)].reset_index(drop=True) if times.max(initial=1) > 1 else pairs
            first_of_group = np.cumsum(times, dtype=np.int32) - times
            place = np.arange(times.sum(), dtype=np.int32) - first_of_group.repeat(times)
            pairs[side] = members[starts[groups].repeat(times) + place]
        pairs["first"], pairs["second"] = np.sort(pairs[["first", "second"]].to_numpy(), axis=1).T
        return pairs.sort_values(["first", "second"], ignore_index=True)

    def exact(self) -> pd.DataFrame:
        """Pairs of exact copies that are not blank, with the columns of `near_pairs`; only neighbours of a crowd."""
        rows = self._rows[~self.blank[self._rows]]
        pairs = rows[exact_pairs(self.digests[rows], CROWD)]
        kinds = pd.Categorical.from_codes(np.full(len(pairs), KINDS.index("exact"), np.int8), KINDS)
        first, second = pairs.astype(np.int32).T
        return pd.DataFrame({"first": first, "second": second, "kind": kinds}).assign(
            distance=np.int8(0), correlation=1.0
        )

    def present(self, rows: np.ndarray, others: np.ndarray, *, near: bool) -> np.ndarray:
        """Mask of the rows that have a copy among others.

        Args:
            rows: Rows of the store `(N,)`.
            others: Other rows of the store `(M,)`.
            near: Whether near and mirrored copies count too.

        Returns:
            `(N,)` bool.
        """
        present = np.isin(self.digests[rows], self.digests[others])
        if near:
            first, second = (self.different[side].to_numpy() for side in ("first", "second"))
            there = np.isin(self.digests, self.digests[others])
            copied = np.zeros(len(self.digests), bool)
            copied[first[there[second]]] = copied[second[there[first]]] = True
            present |= np.isin(self.digests[rows], self.digests[copied])
            # Not all pairs of a crowd are listed, but all its members.
            groups, crowded = self._groups
            present |= crowded[groups[rows]] & np.isin(groups[rows], groups[others])
        return present

    @cached_property
    def _groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Group of each row of the store by exact and other copies, and whether each group has a crowd of pairs."""
        _, groups = np.unique(self.digests, return_inverse=True)
        groups = groups.astype(np.int32)
        ends = groups[self.different[["first", "second"]].to_numpy()]
        degrees = sum(np.bincount(ends[:, side], minlength=len(groups)) for side in (0, 1))
        # Positions are pictures: the first ones represent the groups.
        joined = join(np.arange(len(groups)), ends)
        crowded = np.zeros(len(groups), bool)
        crowded[joined[np.flatnonzero(degrees >= CROWD)]] = True
        return joined[groups], crowded

    def group_sizes(self) -> np.ndarray:
        """Number of images in each group of copies, in decreasing order, without blank images."""
        rows = self._rows[~self.blank[self._rows]]
        sizes = np.bincount(self._groups[0][rows])
        return np.sort(sizes[sizes > 1])[::-1]

    def count(self, rows: np.ndarray, kinds: np.ndarray, number: int) -> dict[str, np.ndarray]:
        """Number of pairs of copies by the categories of their images, without blank images.

        Args:
            rows: Rows of the store `(N,)`.
            kinds: Category of each of these images, `(N,)` integers below `number`.
            number: Number of categories.

        Returns:
            For `"exact"`, `"near"` and `"mirrored"` a symmetric table `(number, number)` int64. A pair within a
            category counts once, on the diagonal; not all near and mirrored pairs of crowds count.
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
