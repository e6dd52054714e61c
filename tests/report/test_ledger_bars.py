from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fer_lightning.studies.ledger import COLUMNS
from fer_lightning.report.ledger_bars import draw_ledger


@pytest.fixture
def ledger() -> pd.DataFrame:
    rows = [
        {"row": "Full", "published": 0.98, "mean": 0.68, "low": 0.65, "high": 0.71, "n_seeds": 3, "credible_low": 0.7}
        | {"credible_high": 0.77, "annotator_agreement": 0.64},
        {"row": "- Fusion", "published": 0.97, "published_difference": -0.01, "mean": 0.66, "n_seeds": 1}
        | {"difference": -0.02, "difference_low": -0.03, "difference_high": -0.005},
        {"row": "A name that no figure has room for, however wide it is", "published": 0.96, "n_seeds": 0},
    ]
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def test_bars_marks_and_what_was_not_run(ledger):
    figure = draw_ledger(ledger, "Table 6")
    scores, differences = figure.axes
    assert [bar.get_width() for bar in scores.patches if bar.get_height() == 0.58] == [0.68, 0.66]
    assert [text.get_text() for text in scores.texts] == ["not run"]
    claims = next(line for line in scores.lines if line.get_label() == "published, as a claim")
    assert claims.get_xdata().tolist() == [0.98, 0.97, 0.96]
    [interval] = scores.collections
    np.testing.assert_allclose(interval.get_segments()[0], [[0.65, 0], [0.71, 0]])
    np.testing.assert_allclose(differences.collections[0].get_segments()[0], [[-3, 1], [-0.5, 1]])
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"credible best of others", "annotator agreement", "95 % interval"} <= labels
    assert len(scores.get_yticklabels()[2].get_text()) == 44


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [[0], [2]])
def test_without_a_reference_there_is_one_panel(ledger, rows):
    figure = draw_ledger(ledger.iloc[rows].reset_index(drop=True), "Table 3")
    figure.draw_without_rendering()
    assert len(figure.axes) == 1
