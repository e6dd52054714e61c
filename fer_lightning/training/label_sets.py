"""Predictions of a network on data with other classes: what both know is compared by name, the rest is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_lightning.data.labels import LabelSet
from fer_lightning.errors import UserError
from fer_lightning.evaluation.predictions import PROBABILITY_PREFIX


@dataclass(frozen=True)
class SharedPredictions:
    """Predictions over the classes that network and data share.

    Attributes:
        table: Columns `id`, `split`, `target`, `prob_<class>`; targets and columns follow `classes`, and the
            probabilities of a row sum to 1 again.
        classes: The shared classes in canonical order.
        left_out: Rows of the data whose class the network does not know, per class.
        never_right: Classes of the network that the data does not have; their probability was given to the others.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    left_out: dict[str, int]
    never_right: tuple[str, ...]


def share_classes(table: pd.DataFrame, net: Sequence[str], data: Sequence[str]) -> SharedPredictions:
    """Restricts predictions to the classes that network and data share.

    Args:
        table: Columns `id`, `split`, `target` (index into `data`) and `prob_<class>` of every class in `net`.
        net: Class names of the network.
        data: Class names of the data.

    Raises:
        UserError: They share fewer than two classes.
    """
    classes = LabelSet.of(set(net) & set(data)).classes
    if len(classes) < 2:
        raise UserError(f"The network knows {', '.join(net)} and the data {', '.join(data)}: nothing to compare.")
    names = np.asarray(data)[table["target"]]
    known = np.isin(names, classes)
    columns = [PROBABILITY_PREFIX + name for name in classes]
    probabilities = table.loc[known, columns].to_numpy()
    if len(classes) < len(net):
        probabilities = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    kept = table.loc[known, ["id", "split"]].assign(target=[classes.index(name) for name in names[known]])
    kept = pd.concat([kept, pd.DataFrame(probabilities, columns=columns, index=kept.index)], axis=1)
    missing, counts = np.unique(names[~known], return_counts=True)
    return SharedPredictions(
        table=kept.reset_index(drop=True),
        classes=classes,
        left_out={str(name): int(count) for name, count in zip(missing, counts)},
        never_right=tuple(name for name in net if name not in data),
    )
