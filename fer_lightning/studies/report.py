"""From runs and a definition to the report of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.report.further_tables import further_table
from fer_lightning.studies.ledger import LedgerRow, build_ledger
from fer_lightning.report.other_pictures import draw_other_pictures
from fer_lightning.report.published import Credible
from fer_lightning.report.study import StudyReport
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.facts import study_facts
from fer_lightning.studies.figures import draw_study
from fer_lightning.report.study_records import run_table

CLEAN = "test_clean"


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
    headline = next(iter(ledgers.values()))
    beside = {} if published is None else {t.table: further_table(t, published, headline) for t in definition.also}
    return StudyReport(
        name=definition.name,
        title=definition.heading,
        facts=study_facts(test, budget, grid),
        command=command,
        ledgers=ledgers,
        reference=definition.reference,
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
) -> dict[str, pd.DataFrame]:
    def build(metric: str, rows: Sequence[LedgerRow], reference: str | None, split: str = "test") -> pd.DataFrame:
        return build_ledger(rows, definition.claims(published, metric), runs, reference, credible, split)

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
