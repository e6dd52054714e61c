from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.labels import CANONICAL_ORDER, EIGHT, SEVEN, ClassGroups, LabelSet, canonical_name
from fer_lightning.errors import UserError


def test_order_of_logits_is_canonical() -> None:
    assert EIGHT.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
    assert SEVEN.classes == EIGHT.classes[:7]
    assert len(SEVEN) == 7


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Happiness", "happy"),
        (" ANGER ", "angry"),
        ("sadness", "sad"),
        ("Surprised", "surprise"),
        ("fearful", "fear"),
        ("Disgusted", "disgust"),
        ("neutral", "neutral"),
        ("Contempt", "contempt"),
        ("Pain", "pain"),
    ],
)
def test_canonical_name(alias: str, name: str) -> None:
    assert canonical_name(alias) == name


def test_of_ignores_order_and_repetition() -> None:
    assert LabelSet.of(["contempt", "Happiness", "anger", "angry", "happy"]).classes == ("angry", "happy", "contempt")


def test_of_sorts_unknown_classes_behind_the_known() -> None:
    assert LabelSet.of(["zeal", "neutral", "Awe", "anger"]).classes == ("angry", "neutral", "awe", "zeal")


def test_index_is_the_position() -> None:
    assert [EIGHT.index(name) for name in CANONICAL_ORDER] == list(range(8))
    assert SEVEN.index("Surprised") == 5


def test_index_refuses_what_the_set_lacks() -> None:
    with pytest.raises(UserError, match=r"'contempt': choose one of angry, disgust, .*neutral\."):
        SEVEN.index("contempt")


# Groups of classes


def test_valence_groups_the_expressions_and_leaves_out_surprise():
    groups = ClassGroups.of("valence3", EIGHT.classes)
    assert groups.label_set.classes == ("neutral", "negative", "positive")
    of_class = {
        name: [groups.label_set.classes[place] for place in np.flatnonzero(row)]
        for name, row in zip(EIGHT.classes, groups.membership)
    }
    assert of_class == {
        **{name: ["negative"] for name in ("angry", "disgust", "fear", "sad", "contempt")},
        "happy": ["positive"],
        "neutral": ["neutral"],
        "surprise": [],
    }
    assert ClassGroups.of("valence3", SEVEN.classes).membership.sum() == 6


def test_probabilities_of_groups_are_sums_without_what_is_left_out():
    groups = ClassGroups.of({"high": ["happiness", "surprise"], "low": ["sad"]}, SEVEN.classes)
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), 20)
    happy, surprise, sad = (probabilities[:, SEVEN.index(name)] for name in ("happy", "surprise", "sad"))
    expected = np.stack([happy + surprise, sad], axis=1) / (happy + surprise + sad)[:, None]
    np.testing.assert_allclose(groups.probabilities(probabilities), expected)
    only_neutral = np.eye(7)[[SEVEN.index("neutral")]]
    assert groups.probabilities(only_neutral).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("valence", "groups must be one of|groups.*valence3"),
        ({"one": ["happy"]}, "groups must be two or more with different names; got one"),
        ({"Happy": ["happy"], "joy": ["sad"]}, "groups must be two or more with different names"),
        ({"one": ["happy"], "two": []}, "two must have at least one class"),
        ({"one": ["happy"], "two": ["hapy"]}, "two has the unknown class 'hapy': did you mean happy"),
        ({"one": ["happy"], "two": ["sad", "joy"]}, "happy is in two: omit it in two"),
    ],
)
def test_groups_that_cannot_be(groups, message):
    with pytest.raises(UserError, match=message):
        ClassGroups.of(groups, SEVEN.classes)
