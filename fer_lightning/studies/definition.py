"""Definition of a study: the checked `report:` block of its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.studies.comparison_table import ComparisonRow, published_scores


@dataclass(frozen=True)
class FurtherTable:
    """Further published table that the runs of a study measure.

    Attributes:
        table: Name of the table, for example `"Table 11"`.
        columns: Column of the comparison table by published metric: `mean`, `sd`, `p` or `p_holm`.
        rows: Variant by title of the published row.
    """

    table: str
    columns: dict[str, str]
    rows: dict[str, str]


@dataclass(frozen=True)
class ClassTable:
    """Scores of each class, in a study of one row.

    Attributes:
        metrics: Score of a class by published metric, for example `{"F1": "f1"}`.
        rows: Class by title of the published row, for example `{"Anger": "angry"}`.
    """

    metrics: dict[str, str]
    rows: dict[str, str]


@dataclass(frozen=True)
class StudyDefinition:
    """Rows, metrics and published table of a study.

    Attributes:
        name: Name of the study, for example `psysfa_table6`.
        title: Title in the report.
        metrics: Measured score by published metric, the headline first.
        rows: Variant by row of the published table; None if no variant can measure it. With `per_dataset`, the data set
            in protocols by its name in the paper.
        own_rows: Variant by title of rows that the paper does not have.
        reference: Row that the others are tested against, or None.
        paper: Folder of `published.csv`, or None.
        table: Published table, or None.
        per_dataset: Row of the published table whose scores on several data sets are the rows, or None.
        per_class: Scores of each class, or None.
        also: Further published tables of the same runs.
        includes: Studies whose runs are all among those of this one: data set on which that holds, None for any, by
            name of the study.
        robustness: Whether the runs were also scored on corrupted images.
        cross_dataset: Whether the runs were also scored on the data sets of the others.
        selection_optimism: Whether the study measures the optimism of selection on the test split, whose scores after
            every epoch its runs have, instead of comparing its rows.
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
    selection_optimism: bool = False

    @classmethod
    def from_block(cls, name: str, block: Mapping[str, Any]) -> StudyDefinition:
        """Reads a `report:` block.

        Raises:
            UserError: A field is missing, unknown or inconsistent with the others.
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
            problem = str(error).replace(".__init__() got an unexpected keyword argument", " does not know")
            raise UserError(f"The report block of study={name} cannot be read: {problem}.") from None
        return definition

    @property
    def heading(self) -> str:
        """Table and title."""
        return self.title if self.table is None else f"{self.table}: {self.title}"

    def titles(self, only: str) -> dict[str, str]:
        """Title by variant, in the order of the rows.

        Args:
            only: The only variant of a study with `per_dataset`.
        """
        if self.per_dataset is not None:
            return {only: self.per_dataset}
        rows = {**self.rows, **self.own_rows}
        return {variant: title for title, variant in rows.items() if variant is not None}

    def comparison_rows(self, score: str, only: str) -> list[ComparisonRow]:
        """Rows of the comparison table of one score; `only` as in `titles`."""
        if self.per_dataset is not None:
            return [ComparisonRow(title, only, score, dataset) for title, dataset in self.rows.items()]
        return [ComparisonRow(title, variant, score) for title, variant in {**self.rows, **self.own_rows}.items()]

    def class_rows(self, score: str) -> list[ComparisonRow]:
        """Rows of the comparison table of one score of each class."""
        assert self.per_class is not None
        variant = next(iter(self.rows.values()))
        return [ComparisonRow(title, variant, f"{score}/{name}") for title, name in self.per_class.rows.items()]

    def claims(self, published: pd.DataFrame | None, metric: str) -> dict[str, float]:
        """Published scores by title of the row, in 0..1; empty if the study has no table.

        Args:
            published: Tables of the paper (`read_published`), or None.
            metric: Published metric, for example `"accuracy"`.

        Raises:
            UserError: The paper does not have one of `rows`.
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
                "Move rows that the paper does not have to own_rows."
            )
        return scores

    def _check(self) -> None:
        if not self.metrics or not {**self.rows, **self.own_rows}:
            raise UserError(f"The report block of study={self.name} must have metrics and rows.")
        if self.reference is not None and self.reference not in {**self.rows, **self.own_rows}:
            raise UserError(f"study={self.name}: the reference must be one of its rows; got {self.reference!r}.")
        if self.per_dataset is not None and (self.own_rows or self.reference):
            raise UserError(f"study={self.name}: per_dataset allows neither own_rows nor a reference.")
        if self.per_class is not None and (len(self.rows) != 1 or self.own_rows):
            raise UserError(f"study={self.name}: with per_class, rows must hold one row; remove the others.")


def _with_rows(study: str, table: Mapping[str, Any], rows: Mapping[str, str | None]) -> dict[str, Any]:
    """Block of a further table with rows: its own, or those of the study under its `titles`.

    Raises:
        UserError: `titles` names a row that the study does not have.
    """
    titles = table.get("titles", {})
    if strange := set(titles) - set(rows):
        raise UserError(
            f"study={study}: the titles of {table.get('table')} must be for rows of the study; got "
            f"{', '.join(sorted(strange))}."
        )
    shown = {titles.get(row, row): variant for row, variant in rows.items()}
    block = {key: value for key, value in table.items() if key != "titles"}
    return {"rows": {title: variant for title, variant in shown.items() if title is not None}, **block}
