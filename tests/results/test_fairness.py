from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score
from statsmodels.stats.proportion import proportion_confint

from fer_lightning.results.fairness import groups_table, score_by_group

CLASSES = ("angry", "happy", "neutral", "sad")


def predicted(targets, answers) -> pd.DataFrame:
    """Predictions in which the answer has the largest probability."""
    probabilities = 0.1 + 0.6 * np.eye(len(CLASSES))[answers]
    table = pd.DataFrame({"id": [f"image_{row}" for row in range(len(targets))], "target": targets})
    return pd.concat([table, pd.DataFrame(probabilities, columns=[f"prob_{name}" for name in CLASSES])], axis=1)


def drawn(right: dict[str, float], counts: dict[str, int], seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and groups; a group's images are right with its probability, and of the next class if not."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(list(counts), list(counts.values()))
    targets = rng.choice(len(CLASSES), len(groups), p=[0.1, 0.4, 0.3, 0.2])
    correct = rng.random(len(groups)) < np.array([right[group] for group in groups])
    answers = np.where(correct, targets, (targets + 1) % len(CLASSES))
    predictions = predicted(targets, answers)
    return predictions, pd.DataFrame({"team": pd.Categorical(groups)}, index=predictions["id"])


def test_scores_and_intervals_agree_with_independent_implementations():
    predictions, attributes = drawn({"red": 0.8, "blue": 0.65}, {"red": 300, "blue": 120})
    scores = score_by_group(predictions, attributes.sample(frac=1, random_state=0), CLASSES)["team"]
    answers = predictions.filter(like="prob_").to_numpy().argmax(axis=1)
    for name, group in scores["groups"].items():
        chosen = (attributes["team"] == name).to_numpy()
        target, answer = predictions["target"].to_numpy()[chosen], answers[chosen]
        assert group["n"] == chosen.sum() and group["classes"] == len(CLASSES)
        assert group["accuracy"] == pytest.approx(accuracy_score(target, answer))
        right = int((target == answer).sum())
        wilson = proportion_confint(right, len(target), method="wilson")
        assert (group["accuracy_low"], group["accuracy_high"]) == pytest.approx(wilson)
        assert group["macro_f1"] == pytest.approx(f1_score(target, answer, average="macro"))
        resampled = bootstrap(
            (target, answer), lambda a, b: f1_score(a, b, average="macro", zero_division=0), paired=True,
            vectorized=False, n_resamples=200, method="percentile", rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        assert (group["macro_f1_low"], group["macro_f1_high"]) == pytest.approx(resampled, abs=0.02)
    gap = scores["gap"]["accuracy"]
    assert (gap["best"], gap["worst"]) == ("red", "blue")
    assert gap["difference"] == scores["groups"]["red"]["accuracy"] - scores["groups"]["blue"]["accuracy"]
    resampled = bootstrap(
        [(answers == predictions["target"])[(attributes["team"] == name).to_numpy()] for name in ("red", "blue")],
        lambda red, blue, axis: red.mean(axis=axis) - blue.mean(axis=axis), method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert (gap["low"], gap["high"]) == pytest.approx(resampled, abs=0.006)


def test_a_class_that_a_group_lacks_does_not_count():
    targets, answers = np.array([0, 0, 1, 1] * 10), np.array([0, 1, 1, 1] * 10)
    predictions = predicted(targets, answers)
    attributes = pd.DataFrame({"team": pd.Categorical(["red"] * 40)}, index=predictions["id"])
    [group] = score_by_group(predictions, attributes, CLASSES)["team"]["groups"].values()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # scikit-learn would tell of classes without images
        assert group["macro_f1"] == pytest.approx(f1_score(targets, answers, average="macro"))
    assert group["classes"] == 2


def test_small_groups_and_unknown_values_are_named_and_not_compared():
    predictions, attributes = drawn({"red": 0.5, "blue": 0.6, "rare": 1.0}, {"red": 40, "blue": 30, "rare": 29})
    attributes.iloc[:3] = np.nan
    scores = score_by_group(predictions, attributes, CLASSES)["team"]
    assert scores["too_few"] == ["rare"] and scores["unknown"] == 3
    assert {scores["gap"]["accuracy"][end] for end in ("best", "worst")} == {"red", "blue"}
    table = groups_table({"team": scores}).set_index("group")
    assert table["n"].to_dict() == {"blue": 30, "rare": 29, "red": 37}
    assert table["in_gap"].to_dict() == {"blue": True, "rare": False, "red": True}
    assert score_by_group(predictions, attributes, CLASSES, least=35)["team"]["gap"] == {}


def test_equal_groups_have_no_difference():
    predictions = predicted([0, 1, 2, 3] * 20, [0, 1, 2, 0] * 20)
    attributes = pd.DataFrame({"team": pd.Categorical(np.repeat(["blue", "red"], 40))}, index=predictions["id"])
    gap = score_by_group(predictions, attributes, CLASSES)["team"]["gap"]["accuracy"]
    assert {gap["best"], gap["worst"]} == {"blue", "red"}
    assert gap["difference"] == 0 and gap["low"] < 0 < gap["high"]


def test_the_interval_allows_for_the_choice_of_the_pair():
    """Of five groups that do not differ, the best and the worst often seem to."""
    names = ["a", "b", "c", "d", "e"]
    excluded = naive = 0
    for seed in range(20):
        predictions, attributes = drawn(dict.fromkeys(names, 0.7), dict.fromkeys(names, 120), seed)
        scores = score_by_group(predictions, attributes, CLASSES)["team"]
        gap = scores["gap"]["accuracy"]
        excluded += gap["low"] > 0
        spread = [scores["groups"][gap[end]]["accuracy"] for end in ("best", "worst")]
        naive += gap["difference"] > 1.96 * sum(score * (1 - score) / 120 for score in spread) ** 0.5
    assert excluded <= 3 < naive
