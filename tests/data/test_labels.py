from __future__ import annotations

import pytest

from fer_lightning.data.labels import CANONICAL_ORDER, EIGHT, SEVEN, LabelSet, canonical_name
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
