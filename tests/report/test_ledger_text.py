from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from fer_lightning.studies.ledger import COLUMNS
from fer_lightning.report.ledger_text import ledger_csv, ledger_markdown

ONE = {"interval": "test images", "test": "McNemar, seed 0"}


@pytest.fixture
def ledger() -> pd.DataFrame:
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


def test_markdown(ledger):
    lines = ledger_markdown(ledger, "Full").splitlines()
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


def test_the_marks_are_explained(ledger):
    text = ledger_markdown(ledger, "Full")
    assert "¹ One seed: interval and p cover the draw of the test images" in text
    assert "row *Full*, in points; p is Holm's over this table (McNemar, seed 0), their intervals are not" in text
    assert text.rstrip().endswith("that can be believed: PrivateTest.")


def test_folds_are_no_seeds(ledger):
    assert "folds of one seed" not in ledger_markdown(ledger, "Full")
    assert "*Seeds* are folds of one seed here" in ledger_markdown(ledger.replace("seeds", "folds"), "Full")


def test_notes_only_where_they_are_needed(ledger):
    text = ledger_markdown(ledger.iloc[[2]], None)
    assert text.count("\n") == 3


def test_csv_can_be_read_again(ledger):
    text = ledger_csv(ledger)
    table = pd.read_csv(io.StringIO(text))
    assert tuple(table.columns) == COLUMNS
    assert table["mean"].tolist() == ["0.6762", "0.65", "not run"]
    np.testing.assert_allclose(table["published"], ledger["published"])
