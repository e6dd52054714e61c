from __future__ import annotations

import pandas as pd
import pytest

from fer_lightning.report.ceiling import draw_agreement


def test_bars_stand_above_their_class(tmp_path):
    rows = [
        ("a", "all", "all", 0.5, 0.4, 0.6),
        ("a", "all", "happy", 0.9, 0.8, 0.95),
        ("a", "train", "happy", 0.1, 0.0, 0.2),  # not drawn
        ("b", "all", "all", 0.3, 0.2, 0.4),
        ("b", "all", "sad", 0.2, 0.1, 0.3),
        ("c", "all", "sad", 1.0, 0.9, 1.0),  # not asked for
    ]
    table = pd.DataFrame(rows, columns=["measure", "split", "class", "agreement", "low", "high"])
    figure = draw_agreement(table, ["a", "b"])
    panel = figure.axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["all classes", "happy", "sad"]
    bars = {(round(bar.get_x() + bar.get_width() / 2, 6), round(bar.get_height(), 6)) for bar in panel.patches}
    assert bars == {(-0.2, 0.5), (0.8, 0.9), (0.2, 0.3), (2.2, 0.2)}
    assert bars and panel.get_ylim()[1] == pytest.approx(1.05)
    figure.savefig(tmp_path / "label_noise.png")
