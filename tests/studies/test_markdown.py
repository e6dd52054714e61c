from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from fer_lightning.studies.ledger import COLUMNS
from fer_lightning.report.study import StudyReport
from fer_lightning.studies.markdown import study_markdown, table_markdown, write_study, write_text


def ledger(*rows: tuple[str, float, float, int]) -> pd.DataFrame:
    lines = [{"row": row, "published": claim, "mean": mean, "n_seeds": seeds} for row, claim, mean, seeds in rows]
    return pd.DataFrame(lines).reindex(columns=list(COLUMNS))


@pytest.fixture
def report() -> StudyReport:
    return StudyReport(
        name="study",
        title="Table 6: Parts",
        facts={"Data": "fer2013", "Seeds": "0"},
        command="fer train study=study",
        ledgers={"accuracy": ledger(("Full", 0.981, 0.5, 1)), "macro F1": ledger(("Full", 0.97, 0.4, 1))},
        reference="Full",
        figures={"scores": Figure(), "roc": Figure()},
        captions={"scores": "The scores.", "roc": "The ROC."},
        runs=pd.DataFrame({"variant": ["full"], "seed": [0], "accuracy": [0.5]}),
        unfinished=[f"seed={seed} ablation=full" for seed in range(1, 9)],
        tables={"Spoilt": "| corruption |"},
        beside={"Table 11": pd.DataFrame({"row": ["a|b"], "measured": ["1 %"]})},
    )


def test_the_files(report, tmp_path):
    files = write_study(report, tmp_path / "to" / "study")
    expected = ["table.md", "accuracy.csv", "macro_f1.csv", "table_11.csv", "runs.csv", "scores.png", "roc.png"]
    assert [path.name for path in files] == expected
    assert sorted(path.name for path in (tmp_path / "to" / "study").iterdir()) == sorted(expected)
    assert pd.read_csv(files[1])["published"].tolist() == [0.981]
    assert pd.read_csv(files[4]).to_dict("records") == [{"variant": "full", "seed": 0, "accuracy": 0.5}]


def test_what_a_reader_gets_in_which_order(report):
    text = study_markdown(report)
    parts = [
        "## Table 6: Parts",
        "- **Data:** fer2013\n- **Seeds:** 0",
        "Not run yet, 8 of the grid: seed=1 ablation=full; ",
        "; and 2 more.",
        "```bash\nfer train study=study\n```",
        "### Accuracy\n\n| row |",
        "![The scores.](scores.png)\n\n*The scores.*",
        "### Spoilt\n\n| corruption |\n\n",
        "### Table 11\n\n| row | measured |",
        "### Macro F1",
        "![The ROC.](roc.png)",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.endswith("*\n") and "\n\n\n" not in text


def test_cells_do_not_break_the_table():
    assert table_markdown(pd.DataFrame({"row": ["a|b"], "n": [1]})) == "| row | n |\n| --- | ---: |\n| a\\|b | 1 |"


def test_a_file_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "a.md").write_text("old")
    assert write_text(tmp_path / "a.md", "new ±").read_text() == "new ±"
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]
