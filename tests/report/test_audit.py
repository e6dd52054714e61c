from __future__ import annotations

import pandas as pd

from fer_lightning.report.audit import draw_copies


def test_bars_are_stacked_and_told():
    table = pd.DataFrame(
        {"splits": ["train", "train - test", "test"], "exact": [5, 2, 0], "near": [3, 0, 0], "mirrored": [1, 1, 0]}
    )
    panel = draw_copies(table, "faces").axes[0]
    exact, near, mirrored = ([bar.get_width() for bar in bars] for bars in panel.containers)
    assert (exact, near, mirrored) == ([5, 2, 0], [3, 0, 0], [1, 1, 0])
    assert [bar.get_x() for bar in panel.containers[2]] == [8, 2, 0]
    assert [text.get_text().strip() for text in panel.texts] == ["5 + 3 + 1", "2 + 0 + 1", "none"]
    assert panel.get_title(loc="left") == "faces: copies within and across splits"


def test_a_dataset_without_copies(tmp_path):
    table = pd.DataFrame({"splits": ["train"], "exact": [0], "near": [0], "mirrored": [0]})
    draw_copies(table, "faces").savefig(tmp_path / "copies.png")
