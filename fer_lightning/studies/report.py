"""From runs and a definition to the report of a study, which becomes files, a page and a W&B run.

It may also have other published tables that the same runs measure, and scores on corrupted pictures and other data
sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fer_lightning.errors import UserError
from fer_lightning.plots.cross_dataset import cross_dataset_figures, cross_dataset_markdown
from fer_lightning.plots.robustness import robustness_figures, robustness_markdown
from fer_lightning.plots.text import NOTHING, as_printed
from fer_lightning.results.collect import run_table
from fer_lightning.studies.definition import FurtherTable, StudyDefinition
from fer_lightning.studies.facts import study_facts
from fer_lightning.studies.figures import Picture, draw_study
from fer_lightning.studies.ledger import Credible, LedgerRow, build_ledger, published_scores
from fer_lightning.studies.presentation import PresentedLedger, present_ledger

CLEAN = "test_clean"
_MEASURED = {"mean": "mean", "sd": "sd", "p": "p", "p_holm": "p (Holm)"}
_ROBUSTNESS = "Accuracy on spoilt pictures by severity: mean over seeds and their range."
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
    """Computes all that a study shows.

    Args:
        definition: What it shows.
        runs: As `collect_runs` returns it; may hold runs of other studies.
        published: The paper's numbers (`read_published`); None where there are none.
        credible: What can be believed (`read_credible`).
        command: What ran it.
        budget: Name of its budget, or None.
        grid: Number of its runs when it is complete, or None where nobody knows.
        unfinished: Those of them that have no record yet.

    Raises:
        UserError: None of the runs belongs to a row, a row has runs under more than one name, a run has no test scores,
            a score is missing, or protocols differ.
    """
    only = _only_variant(definition, runs)
    titles = definition.titles(only)
    own = runs[runs["variant"].isin(titles)]
    _refuse_splinters(runs, titles)
    if own.empty:
        raise UserError(f"no run of study={definition.name} belongs to one of its rows: they are {_told(runs)}.")
    if untested := set(own["folder"]) - set(own.loc[own["split"] == "test", "folder"]):
        raise UserError(
            f"{min(untested)} was never scored on test, as the trials of a search: fer report shows a search when it "
            "is given the folder of all its trials, and it is over."
        )
    _require_scores(definition, own)
    ledgers = _ledgers(definition, only, own, published, credible)
    test = own[own["split"] == "test"]
    shown = next((variant for variant, title in titles.items() if title == definition.reference), None)
    if len(titles) == 1:
        shown = next(iter(titles))
    pictures = draw_study(
        definition.heading, ledgers, titles, shown if (test["variant"] == shown).any() else None, test
    )
    others, tables = draw_other_pictures(definition, test, titles)
    pictures |= others
    headline = next(iter(ledgers.values())).table
    beside = {} if published is None else {t.table: further_table(t, published, headline) for t in definition.also}
    return StudyReport(
        name=definition.name,
        title=definition.heading,
        facts=study_facts(test, budget, grid),
        command=command,
        ledgers=ledgers,
        figures={name: figure for name, (figure, _) in pictures.items()},
        captions={name: caption for name, (_, caption) in pictures.items()},
        runs=run_table(own),
        unfinished=list(unfinished),
        beside=beside,
        tables=tables,
    )


def _ledgers(
    definition: StudyDefinition,
    only: str,
    runs: pd.DataFrame,
    published: pd.DataFrame | None,
    credible: Mapping[tuple[str, int, str], Credible],
) -> dict[str, PresentedLedger]:
    def build(metric: str, rows: Sequence[LedgerRow], reference: str | None, split: str = "test") -> PresentedLedger:
        table = build_ledger(rows, definition.claims(published, metric), runs, reference, credible, split)
        return present_ledger(table, reference)

    ledgers = {
        metric: build(metric, definition.ledger_rows(score, only), definition.reference)
        for metric, score in definition.metrics.items()
    }
    if definition.per_class is not None:
        for metric, score in definition.per_class.metrics.items():
            ledgers[metric] = build(metric, definition.class_rows(score), None)
    if CLEAN in set(runs["split"]):
        metric, score = next(iter(definition.metrics.items()))
        rows = definition.ledger_rows(score, only)
        ledgers[f"{metric} on clean test images"] = build(metric, rows, definition.reference, CLEAN)
    return ledgers


def _only_variant(definition: StudyDefinition, runs: pd.DataFrame) -> str:
    variants = list(runs["variant"].unique())
    if definition.per_dataset is not None and len(variants) > 1:
        raise UserError(
            f"study={definition.name} shows one net on several data sets, but its folder holds {', '.join(variants)}: "
            "keep them in separate folders."
        )
    return str(variants[0])


def _refuse_splinters(runs: pd.DataFrame, titles: Mapping[str, str]) -> None:
    """Runs of one row under several names would stand there as not run."""
    others = [name for name in runs["variant"].unique() if name not in titles]
    for variant in titles:
        if splinters := [name for name in others if variant in name.split(", ")]:
            raise UserError(
                f"runs of {variant} differ in their options ({'; '.join(splinters)}) and are no seeds of one row: keep "
                "them in separate folders."
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
            f"study={definition.name} shows {', '.join(missing)}, which its records do not have: choose from "
            f"{', '.join(known)}, or of a class as f1/happy."
        )


def _told(runs: pd.DataFrame) -> str:
    return ", ".join(map(str, runs["variant"].unique()))


@dataclass(frozen=True)
class StudyReport:
    """What a study found.

    Attributes:
        name: Of the study, for example `psysfa_table6`.
        title: For readers, for example `"Table 6: What each component contributes"`.
        facts: What a reader must know, in order, by heading: data, protocol, budget, seeds, images, hardware, commit.
        command: What runs it, without paths of a machine.
        ledgers: By published metric, the headline first.
        figures: By file name without ending.
        captions: One sentence for each figure, by the same names.
        runs: One row a finished run: `run`, `variant`, `dataset`, `seed`, scores of the test split, `val/accuracy`,
            `best_epoch`, `train_seconds`, `parameters`, `commit`.
        unfinished: Runs of the grid that have no record yet, as their overrides.
        beside: Other tables of the same study that are no ledger, by title: numbers as text, ready to print.
        tables: Tables of other pictures than the test split, in Markdown by title; `figures` shows the same.
    """

    name: str
    title: str
    facts: dict[str, str]
    command: str
    ledgers: dict[str, PresentedLedger]
    figures: dict[str, Figure]
    captions: dict[str, str]
    runs: pd.DataFrame
    unfinished: list[str]
    beside: dict[str, pd.DataFrame] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)


def further_table(further: FurtherTable, published: pd.DataFrame, ledger: pd.DataFrame) -> pd.DataFrame:
    """Sets another published table beside what a ledger holds.

    Args:
        further: What the table is.
        published: As `read_published` returns it.
        ledger: The headline, as `build_ledger` returns it.

    Returns:
        Text, one line a row: `row`, then of each metric what was published and what was measured, then `seeds`, and for
        p-values the `test`.

    Raises:
        UserError: The paper has no such table, metric or row, or the ledger no such column.
    """
    if strange := set(further.columns.values()) - set(_MEASURED):
        raise UserError(f"{further.table} cannot show {', '.join(strange)}: choose from {', '.join(_MEASURED)}.")
    claims = {metric: published_scores(published, further.table, metric) for metric in further.columns}
    measured = ledger.set_index("variant")
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
    """Draws and tabulates what the study asks for and its runs have.

    Args:
        definition: Of the study.
        runs: Test rows of its runs, as `collect_runs` returns them.
        titles: By variant.

    Returns:
        Figure and caption by file name without ending; tables in Markdown by title.
    """
    named = runs.assign(variant=runs["variant"].map(titles))
    pictures: dict[str, Picture] = {}
    tables: dict[str, str] = {}
    if definition.robustness and any((Path(folder) / "robustness.csv").is_file() for folder in runs["folder"]):
        pictures |= {name: (figure, _ROBUSTNESS) for name, figure in robustness_figures(named).items()}
        tables["Accuracy on spoilt pictures"] = robustness_markdown(named)
    if definition.cross_dataset:
        pictures |= {name: (figure, _ACROSS) for name, figure in cross_dataset_figures(named).items()}
        tables["Across data sets"] = cross_dataset_markdown(named)
    return pictures, tables
