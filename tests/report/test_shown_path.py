from __future__ import annotations

from pathlib import Path

from fer_lightning.report.shown_path import shown_path


def test_below_here_it_is_short_and_elsewhere_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "outputs" / "run") == Path("outputs/run")
    assert shown_path(tmp_path.parent / "other") == tmp_path.parent / "other"
    assert shown_path(Path("outputs")) == Path("outputs")
