from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.results.collect import collect_runs
from fer_lightning.report.other_pictures import draw_other_pictures
from fer_lightning.studies.definition import StudyDefinition

TITLES = {"a": "Full", "b": "- fusion"}


@pytest.fixture
def folder(tmp_path, write_record) -> Path:
    for name in TITLES:
        write_record(tmp_path / name, [f"ablation={name}"], 0, np.arange(200) < 150)
    return tmp_path


def draw(folder: Path, **asked: bool) -> tuple[dict, dict[str, str]]:
    runs = collect_runs(folder)
    definition = StudyDefinition("study", "Title", {"accuracy": "accuracy"}, {"Full": "a"}, **asked)
    return draw_other_pictures(definition, runs[runs["split"] == "test"], TITLES)


def test_spoilt_pictures_under_the_titles_of_the_rows(folder):
    for name, accuracy in (("a", 0.4), ("b", 0.5)):
        table = {"corruption": ["clean", "blur"], "severity": [0, 1], "accuracy": [0.75, accuracy]}
        pd.DataFrame(table).to_csv(folder / name / "robustness.csv", index=False)
    pictures, tables = draw(folder, robustness=True)
    assert list(pictures) == ["robustness"]
    (text,) = tables.values()
    assert text.startswith("| corruption | Full | - fusion |") and "40.0 %" in text and "50.0 %" in text


def test_what_was_not_scored_or_not_asked_for_is_not_shown(folder):
    assert draw(folder, robustness=True) == ({}, {})
    assert draw(folder) == ({}, {})


def test_data_sets_of_the_others(folder):
    pictures, tables = draw(folder, cross_dataset=True)
    assert list(pictures) == ["cross_dataset_1", "cross_dataset_2"]
    assert "**Full**" in tables["Across data sets"] and "75.0 %" in tables["Across data sets"]
