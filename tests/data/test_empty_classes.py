from __future__ import annotations

from pathlib import Path

import pandas as pd

from fer_lightning.data.empty_classes import empty_classes
from fer_lightning.data.labels import LabelSet

LABELS = LabelSet.of(["angry", "happy"])


def test_names_the_class_the_split_and_the_source():
    frame = pd.DataFrame({"label": [0, 1, 0], "official": ["Training", "Training", "PublicTest"]})
    assert empty_classes(frame, LABELS, Path("faces.csv")) == ["faces.csv: class happy has no image in PublicTest"]


def test_a_release_without_splits_is_checked_as_a_whole():
    frame = pd.DataFrame({"label": [1], "official": [""]})
    assert empty_classes(frame, LABELS, Path("tree")) == ["tree: class angry has no image"]


def test_full_splits_are_fine():
    frame = pd.DataFrame({"label": [0, 1], "official": ["", ""]})
    assert empty_classes(frame, LABELS, Path("tree")) == []
