from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fer_lightning.report.curves import draw_curves


@pytest.fixture
def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [1.0, 2.0, 3.0],
            "train/loss": [2.0, 1.5, 1.2],
            "val/loss": [1.9, np.nan, 1.3],
            "train/accuracy": [0.3, 0.5, 0.6],
            "val/accuracy": [0.35, np.nan, 0.55],
        }
    )


def lines_of(panel) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(line.get_xdata(), line.get_ydata())) for line in panel.lines}


def test_draws_what_was_measured_and_marks_the_best_epoch(history):
    loss, accuracy = draw_curves(history, best_epoch=3).axes
    assert lines_of(loss)["training"] == [(1, 2.0), (2, 1.5), (3, 1.2)]
    assert lines_of(loss)["validation"] == [(1, 1.9), (3, 1.3)]
    assert lines_of(loss)["best epoch 3: 1.300"] == [(3, 1.3)]
    assert lines_of(accuracy)["best epoch 3: 55.0%"] == [(3, 0.55)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("best_epoch", [None, 2, 1])
def test_draws_whatever_is_there(history, best_epoch):
    for part in (history, history.iloc[:1], history[["epoch", "train/loss"]], history[["epoch"]]):
        draw_curves(part, best_epoch).savefig("/dev/null", format="png")
