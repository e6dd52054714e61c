from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from fer_lightning.studies import wandb_study
from fer_lightning.studies.wandb_study import build_report, build_workspace, log_study, save_views, view_panels


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


@pytest.fixture
def workspaces() -> None:
    pytest.importorskip("wandb_workspaces", reason="needs the extra workspaces")


def settings(saved: Any) -> list[tuple[str, dict[str, Any]]]:
    """Kind and settings of every panel of an object that would be saved, as W&B gets them."""
    found, values = [], [saved._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)]
    for value in values:
        if isinstance(value, dict):
            found += [(value["viewType"], value["config"])] if "viewType" in value else []
            values += value.values()
        elif isinstance(value, list):
            values += value
    return found


@pytest.mark.usefixtures("workspaces")
def test_the_workspace_has_bars_with_intervals_by_ablation():
    workspace = build_workspace("me", "faces", "components", view_panels())
    assert [section.name for section in workspace.sections][:3] == ["Curves", "Ablations", "Seeds"]
    bars = [config for kind, config in settings(workspace) if kind == "Bar Chart"]
    assert {
        "chartTitle": "Test accuracy",
        "metrics": ["summary_metrics.test/accuracy"],
        "vertical": False,
        "groupBy": "choices.value.ablation",
        "groupAgg": "mean",
        "groupArea": "stderr",
        "aggregate": True,
    } in bars
    assert workspace.runset_settings.filters == "Metric(\"Group\") == 'components'"


@pytest.mark.usefixtures("workspaces")
def test_the_report_says_what_was_found_and_has_every_panel(study_report):
    """As objects: what W&B would get names ids that only its server has."""
    report = build_report("me", "faces", "components", view_panels(), study_report)
    texts = [block.text for block in report.blocks if hasattr(block, "text")]
    assert any("1 is confirmed (Holm p < 0.05)" in str(text) for text in texts)
    assert study_report.command in str(texts)
    grids = [block for block in report.blocks if hasattr(block, "panels")]
    assert [runset.filters for grid in grids for runset in grid.runsets] == ["Metric(\"Group\") == 'components'"] * len(
        grids
    )
    kinds = [panel._to_model().view_type for grid in grids for panel in grid.panels]
    assert len(kinds) == sum(map(len, view_panels().values()))
    assert {"Vega2", "Media Browser", "Parallel Coordinates Plot", "Parameter Importance", "Scatter Plot"} <= {*kinds}


@pytest.mark.usefixtures("workspaces")
def test_workspace_and_report_show_the_same_panels_which_are_made_once(study_report, monkeypatch):
    """Up to the request to W&B, which needs a login: what would be sent is kept instead."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    made, sent = [], []
    monkeypatch.setattr(wandb_study, "view_panels", lambda: made.append(view_panels()) or made[-1])
    for kind in (ws.Workspace, wr.Report):
        monkeypatch.setattr(kind, "save", lambda view: sent.append(view) or SimpleNamespace(url="address"))
    run = SimpleNamespace(entity="me", project="faces")
    assert save_views(run, "components", study_report) == ["address", "address"]
    workspace, report = sent
    shown = [panel._to_model().view_type for section in workspace.sections for panel in section.panels]
    grids = [block for block in report.blocks if hasattr(block, "panels")]
    assert len(made) == 1 and len(shown) == sum(map(len, made[0].values()))
    assert shown == [panel._to_model().view_type for grid in grids for panel in grid.panels]
