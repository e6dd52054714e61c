from __future__ import annotations

import math

import pandas as pd
import pytest

from fer_lightning.evaluation.scoring import score


def test_score_by_hand():
    table = pd.DataFrame(
        {
            "target": [0, 0, 1, 1],
            "prob_happy": [0.9, 0.4, 0.2, 0.3],
            "prob_sad": [0.1, 0.6, 0.8, 0.7],
        }
    )
    scores = score(table, ["happy", "sad"])
    assert scores["n"] == 4
    assert scores["accuracy"] == pytest.approx(0.75)
    assert scores["balanced_accuracy"] == pytest.approx(0.75)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["auroc"] == pytest.approx(1.0)
    assert scores["loss"] == pytest.approx(-math.log(0.9 * 0.4 * 0.8 * 0.7) / 4)
    assert scores["per_class"]["sad"]["precision"] == pytest.approx(2 / 3)
    # Wilson: centre (p + z^2 / 2n) / (1 + z^2 / n), with z = 1.95996 and n = 4
    assert (scores["accuracy_low"], scores["accuracy_high"]) == pytest.approx((0.30064, 0.95441), abs=1e-4)


def test_a_probability_of_zero_costs_much_but_not_everything():
    table = pd.DataFrame({"target": [0, 1], "prob_happy": [0.0, 0.0], "prob_sad": [1.0, 1.0]})
    assert score(table, ["happy", "sad"])["loss"] == pytest.approx(-math.log(1e-12) / 2, rel=1e-4)
