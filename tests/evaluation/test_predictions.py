from __future__ import annotations

import numpy as np
import pandas as pd

from fer_lightning.evaluation.predictions import predicted_arrays


def test_takes_one_split_in_the_order_of_the_classes_whatever_the_order_of_the_columns():
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "split": ["val", "test", "test"],
            "prob_sad": [0.3, 0.2, 0.9],
            "target": [0, 1, 0],
            "prob_angry": [0.7, 0.8, 0.1],
        }
    )
    targets, probabilities = predicted_arrays(table, ["angry", "sad"], "test")
    assert targets.tolist() == [1, 0]
    assert np.array_equal(probabilities, [[0.8, 0.2], [0.1, 0.9]])
