"""What a study shows: the `report:` block of its config, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.studies.ledger import LedgerRow, published_scores


@dataclass(frozen=True)
class FurtherTable:
    """Another published table that the same runs measure.

    Attributes:
        table: For example `"Table 11"`.
        columns: Column of the ledger by published metric: `mean`, `sd`, `p` or `p_holm`.
        rows: Variant by published row.
    """

    table: str
    columns: dict[str, str]
    rows: dict[str, str]


@dataclass(frozen=True)
class ClassTable:
    """The scores of each class, of the only row of a study.

    Attributes:
        metrics: Score of a class by published metric, for example `{"F1": "f1"}`.
        rows: Class by published row, for example `{"Anger": "angry"}`.
    """

    metrics: dict[str, str]
    rows: dict[str, str]


@dataclass(frozen=True)
class StudyDefinition:
    """What a study shows.

    Attributes:
        name: Of the study, for example `psysfa_table6`.
        title: What it asks, for readers.
        metrics: Our score by published metric, the headline first.
        rows: Variant by row of the published table; None where nothing can measure it. With `per_dataset` data set, as
            protocols name it, by that of the paper.
        own_rows: Variant by title of rows that the paper does not have.
        reference: Row that the others are tested against, or None.
        paper: Folder of `published.csv`, or None.
        table: Published table, or None where there is none.
        per_dataset: Row of the published table that is shown on several data sets, or None.
        per_class: What is shown of each class, or None.
        also: Other published tables of the same runs.
        includes: Studies of which all runs are among those of this one: the data set for which that holds by name of
            the study, None for any.
        robustness: Whether the runs were also scored on spoilt pictures.
        cross_dataset: Whether they were also scored on the data sets of the others.
    """

    name: str
    title: str
    metrics: dict[str, str]
    rows: dict[str, str | None] = field(default_factory=dict)
    own_rows: dict[str, str] = field(default_factory=dict)
    reference: str | None = None
    paper: str | None = None
    table: str | None = None
    per_dataset: str | None = None
    per_class: ClassTable | None = None
    also: tuple[FurtherTable, ...] = ()
    includes: dict[str, str | None] = field(default_factory=dict)
    robustness: bool = False
    cross_dataset: bool = False

    @classmethod
    def from_block(cls, name: str, block: Mapping[str, Any]) -> StudyDefinition:
        """Reads a `report:` block.

        Raises:
            UserError: It lacks something, or holds what nobody reads.
        """
        values = dict(block)
        try:
            if "per_class" in values:
                values["per_class"] = ClassTable(**values["per_class"])
            also = (_with_rows(name, table, values.get("rows", {})) for table in values.get("also", ()))
            values["also"] = tuple(FurtherTable(**table) for table in also)
            definition = cls(name, **values)
            definition._check()
        except TypeError as error:
            told = str(error).replace(".__init__() got an unexpected keyword argument", " does not know")
            raise UserError(f"the report block of study={name} cannot be read: {told}.") from None
        return definition

    @property
    def heading(self) -> str:
        """Table and title."""
        return self.title if self.table is None else f"{self.table}: {self.title}"

    def titles(self, only: str) -> dict[str, str]:
        """Title by variant, in the order of the rows.

        Args:
            only: The one variant there is, which stands for all rows with `per_dataset`.
        """
        if self.per_dataset is not None:
            return {only: self.per_dataset}
        rows = {**self.rows, **self.own_rows}
        return {variant: title for title, variant in rows.items() if variant is not None}

    def ledger_rows(self, score: str, only: str) -> list[LedgerRow]:
        """The rows of the ledger of one score; `only` as in `titles`."""
        if self.per_dataset is not None:
            return [LedgerRow(title, only, score, dataset) for title, dataset in self.rows.items()]
        return [LedgerRow(title, variant, score) for title, variant in {**self.rows, **self.own_rows}.items()]

    def class_rows(self, score: str) -> list[LedgerRow]:
        """The rows of the ledger of one score of each class."""
        assert self.per_class is not None
        variant = next(iter(self.rows.values()))
        return [LedgerRow(title, variant, f"{score}/{name}") for title, name in self.per_class.rows.items()]

    def claims(self, published: pd.DataFrame | None, metric: str) -> dict[str, float]:
        """The paper's numbers by title, in 0..1.

        Args:
            published: As `read_published` returns it; None where the study has no table.
            metric: For example `"accuracy"`.

        Raises:
            UserError: The paper does not have a row that is said to be its own.
        """
        if published is None or self.table is None:
            return {}
        if self.per_dataset is not None:
            known = published[published["row"] == self.per_dataset]
            columns = {dataset: published_scores(known, self.table, metric, dataset) for dataset in self.rows}
            return {dataset: scores[self.per_dataset] for dataset, scores in columns.items()}
        scores = published_scores(published, self.table, metric)
        expected = self.per_class.rows if self.per_class and metric in self.per_class.metrics else self.rows
        if strange := [title for title in expected if title not in scores]:
            raise UserError(
                f"study={self.name}: {self.table} has no {metric} of {', '.join(strange)}; it has {', '.join(scores)}. "
                "What the paper does not have belongs into own_rows."
            )
        return scores

    def _check(self) -> None:
        if not self.metrics or not {**self.rows, **self.own_rows}:
            raise UserError(f"the report block of study={self.name} needs metrics and rows.")
        if self.reference is not None and self.reference not in {**self.rows, **self.own_rows}:
            raise UserError(f"study={self.name}: the reference {self.reference!r} is none of its rows.")
        if self.per_dataset is not None and (self.own_rows or self.reference):
            raise UserError(f"study={self.name}: per_dataset shows one row, without own_rows and a reference.")
        if self.per_class is not None and (len(self.rows) != 1 or self.own_rows):
            raise UserError(f"study={self.name}: per_class shows the classes of one row, so rows must hold one.")


def _with_rows(study: str, table: Mapping[str, Any], rows: Mapping[str, str | None]) -> dict[str, Any]:
    """A further table that names no rows with those of its study, under the titles that they have there.

    Raises:
        UserError: It gives a title to what is no row.
    """
    titles = table.get("titles", {})
    if strange := set(titles) - set(rows):
        raise UserError(
            f"study={study}: {table.get('table')} has titles of {', '.join(sorted(strange))}: no such rows."
        )
    shown = {titles.get(row, row): variant for row, variant in {**rows}.items()}
    own = {key: value for key, value in table.items() if key != "titles"}
    return {"rows": {title: variant for title, variant in shown.items() if title is not None}, **own}
