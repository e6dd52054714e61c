"""Classes that a split should have and has no image of."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fer_lightning.data.labels import LabelSet


def empty_classes(frame: pd.DataFrame, label_set: LabelSet, source: Path) -> list[str]:
    """Names every class without a row in an official split.

    Args:
        frame: Has the columns `label` and `official`.
        label_set: The classes that every official split should have.
        source: The file or folder that the rows come from.

    Returns:
        One message for each empty class of each split.
    """
    messages = []
    for official, rows in frame.groupby("official", sort=False):
        found = set(rows["label"])
        where = f" in {official}" if official else ""
        messages += [
            f"{source}: class {name} has no image{where}"
            for label, name in enumerate(label_set.classes)
            if label not in found
        ]
    return messages
