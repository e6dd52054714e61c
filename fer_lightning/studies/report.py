"""Report of a study, computed from its runs and its definition.

It may contain further published tables, and scores on corrupted images and other data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fer_lightning.errors import UserError
from fer_lightning.plots.cross_dataset import cross_dataset_figures, cross_dataset_markdown
from fer_lightning.plots.robustness import read_robustness, robustness_figures, robustness_table
from fer_lightning.plots.text import NOTHING, as_printed
from fer_lightning.results.collect import run_table
from fer_lightning.studies.comparison_table import ComparisonRow, Credible, build_comparison, published_scores
from fer_lightning.studies.definition import FurtherTable, StudyDefinition
from fer_lightning.studies.facts import study_facts
from fer_lightning.studies.figures import Picture, draw_study
from fer_lightning.studies.presentation import PresentedTable, conclusions, present_comparison

CLEAN = "test_clean"
_MEASURED = {"mean": "mean", "sd": "sd", "p": "p", "p_holm": "p (Holm)"}
_ROBUSTNESS = "Accuracy on corrupted images by severity: mean over seeds and their range."
_ACROSS = "Accuracy by the data set trained on and the one tested on."


def build_study(
    definition: StudyDefinition,
    runs: pd.DataFrame,
    published: pd.DataFrame | None,
    credible: Mapping[tuple[str, int, str], Credible],
    command: str,
    budget: str | None,
    grid: int | None,
    unfinished: Sequence[str],
) -> StudyReport:
    """Computes the report of a study.

    Args:
        definition: Rows, metrics and published table of the study.
        runs: Scores of the runs (`score_table`), also those of other studies in the folder.
        published: Tables of the paper (`read_published`), or None.
        credible: Credible ranges (`read_credible`).
        command: Command that trains the study.
        budget: Name of the budget, or None.
        grid: Number of runs of the complete study, or None if unknown.
        unfinished: Options of the runs without a record.

    Raises:
        UserError: No run belongs to a row, the runs of a row have different options, a run has no test scores, a score
            is missing, or protocols differ.
    """
    only, runs = _runs_of_rows(definition, runs)
    titles = definition.titles(only)
    test = runs[runs["split"] == "test"]
    if untested := set(runs["folder"]) - set(test["folder"]):
        raise UserError(
            f"{min(untested)} was not scored on test, like the trials of a search: to report a search, give fer report "
            "the folder of all its trials after it has finished."
        )
    _require_scores(definition, runs)
    comparisons = _comparisons(definition, only, runs, published, credible)
    looked_at = [variant for variant, title in titles.items() if title == definition.reference or len(titles) == 1]
    shown = next((variant for variant in looked_at if (test["variant"] == variant).any()), None)
    other_figures, tables = draw_other_pictures(definition, test, titles)
    pictures = draw_study(definition.heading, comparisons, titles, shown, test) | other_figures
    headline = next(iter(comparisons.values())).table
    beside = {} if published is None else {t.table: further_table(t, published, headline) for t in definition.also}
    return StudyReport(
        name=definition.name,
        title=definition.heading,
        facts=study_facts(test, budget, grid),
        command=command,
        comparisons=comparisons,
        figures={name: figure for name, (figure, _) in pictures.items()},
        captions={name: caption for name, (_, caption) in pictures.items()},
        runs=run_table(runs),
        unfinished=list(unfinished),
        seconds=seconds_of(runs),
        beside=beside,
        tables=tables,
    )


def compare_study(definition: StudyDefinition, runs: pd.DataFrame, published: pd.DataFrame | None) -> PresentedTable:
    """Comparison table of the first metric of a study, without a report; arguments and errors as in `build_study`."""
    only, runs = _runs_of_rows(definition, runs)
    _require_scores(definition, runs)
    metric, score = next(iter(definition.metrics.items()))
    rows, claims = definition.comparison_rows(score, only), definition.claims(published, metric)
    table = build_comparison(rows, claims, runs, definition.reference, {})
    return present_comparison(table, definition.reference)


def _runs_of_rows(definition: StudyDefinition, runs: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The only variant of a study with `per_dataset`, or any, and the runs that belong to a row of a study."""
    only = _only_variant(definition, runs)
    titles = definition.titles(only)
    _refuse_splinters(runs, titles)
    belong = runs[runs["variant"].isin(titles)]
    if belong.empty:
        variants = ", ".join(runs["variant"].unique())
        raise UserError(f"No run of study={definition.name} belongs to one of its rows; got {variants}.")
    return only, belong


def _comparisons(
    definition: StudyDefinition,
    only: str,
    runs: pd.DataFrame,
    published: pd.DataFrame | None,
    credible: Mapping[tuple[str, int, str], Credible],
) -> dict[str, PresentedTable]:
    def build(metric: str, rows: Sequence[ComparisonRow], reference: str | None, split: str = "test") -> PresentedTable:
        table = build_comparison(rows, definition.claims(published, metric), runs, reference, credible, split)
        return present_comparison(table, reference)

    comparisons = {
        metric: build(metric, definition.comparison_rows(score, only), definition.reference)
        for metric, score in definition.metrics.items()
    }
    if definition.per_class is not None:
        for metric, score in definition.per_class.metrics.items():
            comparisons[metric] = build(metric, definition.class_rows(score), None)
    if CLEAN in set(runs["split"]):
        metric, score = next(iter(definition.metrics.items()))
        rows = definition.comparison_rows(score, only)
        comparisons[f"{metric} on clean test images"] = build(metric, rows, definition.reference, CLEAN)
    return comparisons


def _only_variant(definition: StudyDefinition, runs: pd.DataFrame) -> str:
    variants = list(runs["variant"].unique())
    if definition.per_dataset is not None and len(variants) > 1:
        raise UserError(
            f"study={definition.name} compares one variant on several data sets, but its folder holds "
            f"{', '.join(variants)}: keep them in separate folders."
        )
    return str(variants[0])


def _refuse_splinters(runs: pd.DataFrame, titles: Mapping[str, str]) -> None:
    """Refuses runs of a row with additional options, which would be left out of it."""
    others = [name for name in runs["variant"].unique() if name not in titles]
    for variant in titles:
        if splinters := [name for name in others if variant in name.split(", ")]:
            raise UserError(
                f"The runs of {variant} must have the same options; some are {'; '.join(splinters)}: keep them in "
                "separate folders."
            )


def _require_scores(definition: StudyDefinition, runs: pd.DataFrame) -> None:
    scores = list(definition.metrics.values())
    if definition.per_class is not None:
        scores += [row.score for score in definition.per_class.metrics.values() for row in definition.class_rows(score)]
    if missing := [score for score in scores if score not in runs]:
        known = [
            name for name in runs.select_dtypes("number") if "/" not in name and name not in ("seed", "parameters")
        ]
        raise UserError(
            f"study={definition.name} needs the scores {', '.join(missing)}, which its records do not have: choose "
            f"from {', '.join(known)}, or the score of a class such as f1/happy."
        )


@dataclass(frozen=True)
class StudyReport:
    """Report of a study.

    Attributes:
        name: Name of the study, for example `psysfa_table6`.
        title: Heading, for example `"Table 6: What each component contributes"`.
        facts: Conditions by heading (`study_facts`).
        command: Command that trains the study, without paths of this machine.
        comparisons: Comparison tables by published metric, the headline first.
        figures: Figures by file name without suffix.
        captions: Captions by the same names.
        runs: A row per finished run (`run_table`).
        unfinished: Options of the runs of the grid without a record.
        beside: Further published tables by title, numbers as text.
        tables: Scores on corrupted images and other data sets, in Markdown by title.
        seconds: Mean seconds of a training by variant and data set (`seconds_of`).
        findings: Verdict of a study without comparison tables, in sentences.
    """

    name: str
    title: str
    facts: dict[str, str]
    command: str
    comparisons: dict[str, PresentedTable]
    figures: dict[str, Figure]
    captions: dict[str, str]
    runs: pd.DataFrame
    unfinished: list[str]
    beside: dict[str, pd.DataFrame] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> list[str]:
        """Findings, or the conclusions of the headline comparison, in sentences."""
        return self.findings or conclusions(next(iter(self.comparisons.values())))


def seconds_of(runs: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Mean seconds of a training with its validation, by variant and data set; early versions stored no time."""
    each = runs.drop_duplicates("folder")
    seconds = each["record"].map(lambda record: record.get("timing", {}).get("fit_seconds")).astype(float)
    means = seconds.groupby([each["variant"], each["dataset"]]).mean().dropna()
    return {(str(variant), str(dataset)): float(value) for (variant, dataset), value in means.items()}


def further_table(further: FurtherTable, published: pd.DataFrame, comparison: pd.DataFrame) -> pd.DataFrame:
    """Compares a further table of the paper (`read_published`) with the headline's scores (`build_comparison`).

    Returns:
        Cells as text: `row`, published and measured number of each metric, `seeds`, and for p-values the `test`.

    Raises:
        UserError: The paper has no such table, metric or row, or the comparison table no such column.
    """
    if strange := set(further.columns.values()) - set(_MEASURED):
        raise UserError(f"{further.table} cannot show {', '.join(strange)}: choose from {', '.join(_MEASURED)}.")
    claims = {metric: published_scores(published, further.table, metric) for metric in further.columns}
    measured = comparison.set_index("variant")
    lines = []
    for title, variant in further.rows.items():
        row = measured.loc[variant] if variant in measured.index else None
        line = {"row": title}
        for metric, column in further.columns.items():
            if title not in claims[metric]:
                raise UserError(f"{further.table} has no {metric} of {title!r}: it has {', '.join(claims[metric])}.")
            line[f"published {metric}, as a claim"] = _shown(claims[metric][title], column, claim=True)
            line[f"measured {_MEASURED[column]}"] = "not run" if row is None else _shown(row[column], column)
        line["seeds"] = NOTHING if row is None else str(row["n_seeds"])
        if {"p", "p_holm"} & set(further.columns.values()):
            line["test"] = NOTHING if row is None or pd.isna(row["test"]) else str(row["test"])
        lines.append(line)
    return pd.DataFrame(lines)


def _shown(value: float, column: str, claim: bool = False) -> str:
    if pd.isna(value):
        return NOTHING
    if column in ("p", "p_holm"):
        return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
    return as_printed(value) if claim else f"{100 * value:.2f} %"


def draw_other_pictures(
    definition: StudyDefinition, runs: pd.DataFrame, titles: Mapping[str, str]
) -> tuple[dict[str, Picture], dict[str, str]]:
    """Figures and Markdown tables of scores on corrupted images and other data sets, where study and runs have them.

    `runs` are test rows. Figure and caption are returned by file name without suffix, tables by title.
    """
    named = runs.assign(variant=runs["variant"].map(titles))
    pictures: dict[str, Picture] = {}
    tables: dict[str, str] = {}
    if definition.robustness and any((Path(folder) / "robustness.csv").is_file() for folder in runs["folder"]):
        pictures |= {name: (figure, _ROBUSTNESS) for name, figure in robustness_figures(named).items()}
        tables["Accuracy on corrupted images"] = robustness_table(read_robustness(named))
    if definition.cross_dataset:
        pictures |= {name: (figure, _ACROSS) for name, figure in cross_dataset_figures(named).items()}
        tables["Across data sets"] = cross_dataset_markdown(named)
    return pictures, tables
