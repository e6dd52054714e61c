from __future__ import annotations

from fer_lightning.report.markdown import markdown_line


def test_cells_stand_between_bars():
    assert markdown_line(["a", "b c"]) == "| a | b c |"
