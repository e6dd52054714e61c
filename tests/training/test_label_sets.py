from __future__ import annotations

import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.training.label_sets import share_classes


def predictions(targets: list[int], probabilities: dict[str, list[float]]) -> pd.DataFrame:
    columns = {f"prob_{name}": values for name, values in probabilities.items()}
    return pd.DataFrame(
        {"id": [f"image{row}" for row in range(len(targets))], "split": "test", "target": targets} | columns
    )


def test_same_classes_change_nothing():
    table = predictions([0, 1], {"happy": [0.9, 0.2], "sad": [0.1, 0.8]})
    shared = share_classes(table, ["happy", "sad"], ["happy", "sad"])
    pd.testing.assert_frame_equal(shared.table, table, check_dtype=False)
    assert (shared.classes, shared.left_out, shared.never_right) == (("happy", "sad"), {}, ())


def test_by_name_whatever_the_order_of_the_data():
    table = predictions(
        [0, 1, 2, 0], {"happy": [0.5, 0.1, 0.2, 0.6], "sad": [0.3, 0.1, 0.2, 0.2], "neutral": [0.2, 0.8, 0.6, 0.2]}
    )
    shared = share_classes(table, ["happy", "sad", "neutral"], ["sad", "contempt", "happy"])
    assert shared.classes == ("happy", "sad")
    assert shared.left_out == {"contempt": 1}
    assert shared.never_right == ("neutral",)
    assert shared.table["id"].tolist() == ["image0", "image2", "image3"]
    assert shared.table["target"].tolist() == [1, 0, 1]
    assert shared.table["prob_happy"].tolist() == pytest.approx([5 / 8, 1 / 2, 3 / 4])
    assert shared.table["prob_sad"].tolist() == pytest.approx([3 / 8, 1 / 2, 1 / 4])
    assert list(shared.table) == ["id", "split", "target", "prob_happy", "prob_sad"]


def test_a_row_without_any_shared_probability_survives():
    table = predictions([0, 1], {"happy": [0.0, 0.5], "sad": [0.0, 0.5], "neutral": [1.0, 0.0]})
    shared = share_classes(table, ["happy", "sad", "neutral"], ["happy", "sad"])
    assert shared.table[["prob_happy", "prob_sad"]].iloc[0].tolist() == [0.0, 0.0]


def test_refuses_fewer_than_two_shared_classes():
    with pytest.raises(UserError, match="happy, sad"):
        share_classes(predictions([0], {"happy": [0.5], "sad": [0.5]}), ["happy", "sad"], ["sad", "neutral"])
