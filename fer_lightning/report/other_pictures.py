"""What a study shows of other pictures than its test split: spoilt ones, and those of other data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fer_lightning.plots.cross_dataset import cross_dataset_figures, cross_dataset_markdown
from fer_lightning.plots.robustness import robustness_figures, robustness_markdown
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.studies.figures import Picture

_ROBUSTNESS = "Accuracy on spoilt pictures by severity: mean over seeds and their range."
_ACROSS = "Accuracy by the data set trained on and the one tested on."


def draw_other_pictures(
    definition: StudyDefinition, runs: pd.DataFrame, titles: Mapping[str, str]
) -> tuple[dict[str, Picture], dict[str, str]]:
    """Draws and tabulates what the study asks for and its runs have.

    Args:
        definition: Of the study.
        runs: Test rows of its runs, as `collect_runs` returns them.
        titles: By variant.

    Returns:
        Figure and caption by file name without ending; tables in Markdown by title.
    """
    named = runs.assign(variant=runs["variant"].map(titles))
    pictures: dict[str, Picture] = {}
    tables: dict[str, str] = {}
    if definition.robustness and any((Path(folder) / "robustness.csv").is_file() for folder in runs["folder"]):
        pictures |= {name: (figure, _ROBUSTNESS) for name, figure in robustness_figures(named).items()}
        tables["Accuracy on spoilt pictures"] = robustness_markdown(named)
    if definition.cross_dataset:
        pictures |= {name: (figure, _ACROSS) for name, figure in cross_dataset_figures(named).items()}
        tables["Across data sets"] = cross_dataset_markdown(named)
    return pictures, tables
