from __future__ import annotations

from typing import Any

import pytest
import wandb

from fer_lightning.studies.wandb_study import log_study


class FakeRun:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.logged: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.log = self.logged.update


@pytest.fixture(scope="module")
def run(study_report, tmp_path_factory) -> FakeRun:
    page = tmp_path_factory.mktemp("page") / "index.html"
    page.write_text("<p>found</p>")
    run = FakeRun()
    log_study(run, study_report, page)  # type: ignore[arg-type]
    return run


def test_every_comparison_is_a_table_with_what_was_found(run, study_report):
    comparisons = {name: table for name, table in run.logged.items() if name.startswith("ledger/")}
    assert list(comparisons) == ["ledger/accuracy", "ledger/macro F1"]
    table = comparisons["ledger/accuracy"]
    rows = [dict(zip(table.columns, row)) for row in table.data]
    assert [row["found"] for row in rows] == ["reference", "confirmed", "not run"]
    assert [row["mean"] for row in rows] == [0.493, 0.41, None]
    assert [row["published"] for row in rows] == [0.9406, 0.9, 0.93]


def test_runs_and_further_tables(run):
    assert [row[:3] for row in run.logged["runs"].data] == [["full", 0, 0.49], ["full", 1, 0.5], ["no_fusion", 0, None]]
    assert run.logged["beside/Table 11"].data == [["Full", "94.1 % ± 0.3"]]


def test_pictures_and_page(run):
    picture = run.logged["figures/scores"]
    assert isinstance(picture, wandb.Image) and picture._caption == "Scores < 1 & more."
    assert isinstance(run.logged["page"], wandb.Html) and run.logged["page"].html == "<p>found</p>"


def test_the_verdict_and_the_reference_are_the_summary(run):
    told = run.summary.pop("verdict")
    assert "1 is confirmed (Holm p < 0.05) and 1 was not run" in told
    assert run.summary == {
        "runs/finished": 3,
        "runs/unfinished": 1,
        "reference/accuracy/published": 0.9406,
        "reference/accuracy/mean": 0.493,
        "reference/accuracy/sd": 0.0123,
        "reference/accuracy/n_seeds": 3.0,
        "reference/macro F1/published": 0.9406,
        "reference/macro F1/mean": pytest.approx(0.393),
        "reference/macro F1/sd": 0.0123,
        "reference/macro F1/n_seeds": 3.0,
    }


def test_the_conditions_are_the_config(run):
    assert run.config == {
        "study": "table_6",
        "title": "Table 6: <i>components</i>",
        "command": "fer train study=table_6 'data.root=<folder>'",
        "Data": "fer2013 & friends",
        "Seeds": "0, 1, 2",
    }
