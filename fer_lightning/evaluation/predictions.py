"""The table of predictions of a run record, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

PROBABILITY_PREFIX = "prob_"


def predicted_arrays(predictions: pd.DataFrame, classes: Sequence[str], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Takes one split out of the table of predictions.

    Args:
        predictions: Columns `split`, `target` and `prob_<class>` for every class.
        classes: The K class names in the order of the logits.
        split: Which rows to take.

    Returns:
        Targets `(N,)` int64 and probabilities `(N, K)` float64.
    """
    rows = predictions[predictions["split"] == split]
    columns = [PROBABILITY_PREFIX + name for name in classes]
    return rows["target"].to_numpy(np.int64), rows[columns].to_numpy(np.float64)
