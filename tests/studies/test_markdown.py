from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fer_lightning.files import write_text
from fer_lightning.plots.text import table_markdown
from fer_lightning.studies.comparison_table import COLUMNS
from fer_lightning.studies.markdown import comparison_csv, comparison_markdown, study_markdown, write_study
from fer_lightning.studies.presentation import present_comparison
from fer_lightning.studies.report import StudyReport

ONE = {"interval": "test images", "test": "McNemar, seed 0"}


def comparison(*rows: tuple[str, float, float, int]) -> pd.DataFrame:
    lines = [{"row": row, "published": claim, "mean": mean, "n_seeds": seeds} for row, claim, mean, seeds in rows]
    return pd.DataFrame(lines).reindex(columns=list(COLUMNS))


@pytest.fixture
def report() -> StudyReport:
    return StudyReport(
        name="study",
        title="Table 6: Parts",
        facts={"Data": "fer2013", "Seeds": "0"},
        command="fer train study=study",
        comparisons={
            "accuracy": present_comparison(comparison(("Full", 0.981, 0.5, 1)), "Full"),
            "macro F1": present_comparison(comparison(("Full", 0.97, 0.4, 1)), "Full"),
        },
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


@pytest.fixture
def comparison_of_text() -> pd.DataFrame:
    rows = [
        {"row": "Full", "published": 0.9406, "mean": 0.6762, "sd": 0.0123, "low": 0.645, "high": 0.707, "n_seeds": 3}
        | {
            "gap": -0.2644,
            "interval": "seeds",
            "credible_low": 0.733,
            "credible_high": 0.768,
            "annotator_agreement": 0.64,
        }
        | {"credible_protocol": "PrivateTest"},
        {
            "row": "- Fusion | MHA",
            "published": 0.97,
            "published_difference": -0.015,
            "mean": 0.65,
            "low": 0.6,
            "high": 0.7,
        }
        | {"n_seeds": 1, "difference": -0.02, "difference_low": -0.03, "difference_high": -0.01, "p": 0.0001}
        | {"p_holm": 0.0002, "credible_low": 0.65, "credible_high": 0.65}
        | ONE,
        {"row": "- MBOA", "published": 0.979, "published_difference": -0.002, "n_seeds": 0},
    ]
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]


def test_markdown(comparison_of_text):
    lines = comparison_markdown(present_comparison(comparison_of_text, "Full")).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines[:5]}) == 1
    assert cells(lines[2]) == [
        "Full",
        "94.06 %",
        "-",
        "**67.6 %** ± 1.2 [64.5, 70.7]",
        "3",
        "-",
        "reference",
        "-26.4",
        "73.3 % to 76.8 %",
        "64.0 %",
    ]
    assert cells(lines[3]) == [
        "- Fusion / MHA",
        "97 %",
        "-1.5",
        "**65.0 %** [60.0, 70.0]¹",
        "1",
        "-2.0 [-3.0, -1.0]",
        "< 0.001¹",
        "-",
        "65.0 %",
        "-",
    ]
    assert cells(lines[4]) == ["- MBOA", "97.9 %", "-0.2", "not run", "-", "-", "-", "-", "-", "-"]


def test_the_marks_are_explained(comparison_of_text):
    text = comparison_markdown(present_comparison(comparison_of_text, "Full"))
    assert "¹ One seed: interval and p cover the draw of the test images" in text
    assert "row *Full*, in points; p is Holm's over this table (McNemar, seed 0), their intervals are not" in text
    assert text.rstrip().endswith("that can be believed: PrivateTest.")


def test_the_estimate_from_all_rows_and_the_power_stand_beside(comparison_of_text):
    assert "together" not in comparison_markdown(present_comparison(comparison_of_text, "Full"))
    columns = ["pooled_difference", "pooled_low", "pooled_high", "pooled_p_holm", "detectable", "pairs"]
    comparison_of_text.loc[1, columns] = -0.02, -0.025, -0.015, 0.03, 0.1234, 3
    comparison = present_comparison(comparison_of_text.fillna({"seeds_for_a_point": 30}), "Full")
    text = comparison_markdown(comparison)
    header, _, first, second, _ = map(cells, text.splitlines()[:5])
    column = header.index("all rows together [95 %], p (Holm)")
    assert header[column - 1] == "measured difference [95 %]"
    assert (first[column], second[column]) == ("-", "-2.0 [-2.5, -1.5], 0.030")
    assert "Findings rest on the paired tests." in text and comparison.power in text


def test_folds_are_no_seeds(comparison_of_text):
    assert "folds of one seed" not in comparison_markdown(present_comparison(comparison_of_text, "Full"))
    folds = present_comparison(comparison_of_text.replace("seeds", "folds"), "Full")
    assert "*Seeds* are folds of one seed here" in comparison_markdown(folds)


def test_notes_only_where_they_are_needed(comparison_of_text):
    text = comparison_markdown(present_comparison(comparison_of_text.iloc[[2]], None))
    assert text.count("\n") == 3


def test_csv_can_be_read_again(comparison_of_text):
    text = comparison_csv(comparison_of_text)
    table = pd.read_csv(io.StringIO(text))
    assert tuple(table.columns) == COLUMNS
    assert table["mean"].tolist() == ["0.6762", "0.65", "not run"]
    np.testing.assert_allclose(table["published"], comparison_of_text["published"])
