"""Audit of a data set: copies, contradictory labels, leaks, and blank or bad images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.duplicates.index import KINDS
from fer_lightning.data.samples import SPLITS

EVALUATED = ("val", "test")


@dataclass(frozen=True)
class Findings:
    """Results of an audit.

    Attributes:
        pairs: Pairs of copies, without blank images and most pairs of crowds: `kind` (of `KINDS`), `distance` (bits of
            the perceptual hash), `correlation` (of grey 32 x 32 thumbnails), and for `first` and `second` each `_id`,
            `_split`, `_label` (class name) and `_row` (of the store).
        by_splits: Number of pairs of each kind by their two splits: `splits`, `exact`, `near`, `mirrored`, and
            `conflicting`, those whose labels differ.
        conflicting: Number of pairs of each kind whose labels differ.
        copy_groups: Number of images in each group of copies, in decreasing order.
        exposed: Images of each evaluation split with a copy in training: `split`, `images`, `exact`, and `any`, which
            counts near and mirrored copies too. Equal blank images count as copies here.
        blank: Ids of the images of a single colour.
        bad: Messages of the rows that could not be used.
        differences: Differences from the official counts: `split`, `class`, `official`, `found`.
        official: Whether official counts are known for any part of this copy.
        groups: Number of subjects or other groups of several images; None where the release names none.
        crossing: Groups with images in more than one split: `group`, and the number of its images in each split.
    """

    pairs: pd.DataFrame
    by_splits: pd.DataFrame
    conflicting: dict[str, int]
    copy_groups: list[int]
    exposed: pd.DataFrame
    blank: list[str]
    bad: tuple[str, ...]
    differences: pd.DataFrame
    official: bool
    groups: int | None
    crossing: pd.DataFrame


def audit(datamodule: ExpressionDataModule) -> Findings:
    """Audit of a data module after its `setup`; rows that it has dropped are not audited."""
    frame, copies = datamodule.frame, datamodule.copies
    rows = {split: frame.loc[frame["split"] == split, "row"].to_numpy() for split in SPLITS}
    exposed = [
        {
            "split": split,
            "images": len(rows[split]),
            "exact": int(copies.present(rows[split], rows["train"], near=False).sum()),
            "any": int(copies.present(rows[split], rows["train"], near=True).sum()),
        }
        for split in EVALUATED
    ]
    kinds = _kinds_of_pairs(datamodule)
    contradictory = kinds[kinds["first_label"] != kinds["second_label"]].groupby("kind")["count"].sum()
    pairs = _described(pd.concat([copies.exact(), copies.near], ignore_index=True), datamodule)
    divided = frame["group"].duplicated().any()
    return Findings(
        pairs=pairs,
        by_splits=count_by_splits(kinds),
        conflicting={kind: int(contradictory.get(kind, 0)) for kind in KINDS},
        copy_groups=copies.group_sizes().tolist(),
        exposed=pd.DataFrame(exposed),
        blank=frame.loc[copies.blank[frame["row"]], "id"].tolist(),
        bad=datamodule.bad,
        differences=datamodule.samples.unexpected_counts(),
        official=bool(set(datamodule.samples.expected) & set(datamodule.samples.frame["official"])),
        groups=int(frame["group"].nunique()) if divided else None,
        crossing=crossing_groups(frame),
    )


def _described(pairs: pd.DataFrame, datamodule: ExpressionDataModule) -> pd.DataFrame:
    """Pairs with id, split and label of each image. Names are categories: millions of strings would need gigabytes."""
    frame, classes = datamodule.frame, datamodule.label_set.classes
    described = {
        "id": pd.Categorical(frame["id"]),
        "split": pd.Categorical(frame["split"], SPLITS),
        "label": pd.Categorical.from_codes(frame["label"].to_numpy(), list(classes)),
    }
    place = np.full(frame["row"].max() + 1, -1, np.int32)
    place[frame["row"]] = np.arange(len(frame))
    ends = {side: pairs[side].to_numpy() for side in ("first", "second")}
    kept = np.all(
        [(rows < len(place)) & (place[np.minimum(rows, len(place) - 1)] >= 0) for rows in ends.values()], axis=0
    )
    columns = {name: pairs.loc[kept, name].array for name in ("kind", "distance", "correlation")}
    for side, rows in ends.items():
        columns[f"{side}_row"] = rows[kept]
    for side, rows in ends.items():
        columns |= {f"{side}_{name}": values[place[rows[kept]]] for name, values in described.items()}
    return pd.DataFrame(columns)


def _kinds_of_pairs(datamodule: ExpressionDataModule) -> pd.DataFrame:
    """Number of pairs of copies by kind, splits and labels: the columns of `count_by_splits`, with `count`."""
    frame, names = datamodule.frame, datamodule.label_set.classes
    places = frame["split"].map(SPLITS.index).to_numpy() * len(names) + frame["label"].to_numpy()
    counts = datamodule.copies.count(frame["row"].to_numpy(), places, len(SPLITS) * len(names))
    rows = [
        (
            kind,
            SPLITS[one // len(names)],
            SPLITS[other // len(names)],
            names[one % len(names)],
            names[other % len(names)],
            n,
        )
        for kind, table in counts.items()
        for one, other in np.argwhere(np.triu(table)).tolist()
        if (n := int(table[one, other]))
    ]
    columns = ["kind", "first_split", "second_split", "first_label", "second_label", "count"]
    return pd.DataFrame(rows, columns=columns).astype({"count": np.int64})


def count_by_splits(pairs: pd.DataFrame) -> pd.DataFrame:
    """Number of pairs by their two splits.

    Args:
        pairs: Columns `kind`, `first_split`, `second_split`, `first_label`, `second_label` and `count`.

    Returns:
        The table `Findings.by_splits`; pairs within a split have its name, others `"train - test"`.
    """
    order = {split: place for place, split in enumerate(SPLITS)}
    one, other = pairs["first_split"].map(order), pairs["second_split"].map(order)
    counted = []
    for first, second in combinations_with_replacement(SPLITS, 2):
        here = pairs[(np.minimum(one, other) == order[first]) & (np.maximum(one, other) == order[second])]
        kinds = {kind: int(here["count"][here["kind"] == kind].sum()) for kind in KINDS}
        conflicting = int(here["count"][here["first_label"] != here["second_label"]].sum())
        name = first if first == second else f"{first} - {second}"
        counted.append({"splits": name, **kinds, "conflicting": conflicting})
    return pd.DataFrame(counted)


def crossing_groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Number of images by split, one row per group (for example a subject) that has images in more than one."""
    counts = frame.groupby(["group", "split"]).size().unstack(fill_value=0).reindex(columns=list(SPLITS), fill_value=0)
    divided = counts[(counts > 0).sum(axis=1) > 1]
    return divided.rename_axis(columns=None).reset_index()
