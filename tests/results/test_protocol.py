from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.protocol import Protocol

PROTOCOL = Protocol(
    dataset="fer2013",
    release="fer2013.csv",
    classes=("happy", "sad"),
    label_rule="single label",
    split="official",
    selection="PublicTest",
    test="PrivateTest",
    counts={"train": 10, "val": 2, "test": 3},
    fingerprint="0123456789abcdef",
)
OTHER = {"classes": ("sad", "happy"), "counts": {"train": 11, "val": 2, "test": 3}}


def test_survives_json() -> None:
    assert Protocol.from_dict(json.loads(json.dumps(PROTOCOL.to_dict()))) == PROTOCOL


def test_from_dict_ignores_what_later_versions_add() -> None:
    assert Protocol.from_dict({**PROTOCOL.to_dict(), "weather": "fine"}) == PROTOCOL


def test_equal_protocols_may_be_compared() -> None:
    PROTOCOL.require_same(replace(PROTOCOL, counts=dict(PROTOCOL.counts)))


@pytest.mark.parametrize("name", [field.name for field in fields(Protocol)])
def test_a_difference_in_any_field_is_refused_by_name(name: str) -> None:
    other = Protocol.from_dict({**PROTOCOL.to_dict(), name: OTHER.get(name, "other")})
    assert PROTOCOL.differences(other) == [name]
    with pytest.raises(UserError, match=rf"cannot be compared \({name}: .* and .*\)\."):
        PROTOCOL.require_same(other)


def test_folds_of_one_cross_validation_count_as_one_protocol() -> None:
    folds = [
        replace(
            PROTOCOL,
            split=f"subject-disjoint 10-fold, seed 0, fold {fold}",
            selection=f"fold {fold + 1}",
            test=f"fold {fold}",
            counts={"train": 80 - fold, "val": 10, "test": 10 + fold},
            fingerprint=str(fold),
        )
        for fold in range(2)
    ]
    assert folds[0].over_folds() == folds[1].over_folds() != folds[0]
    assert PROTOCOL.over_folds() is PROTOCOL
    for other in (replace(folds[1], release="another copy"), replace(folds[1], counts={"train": 70})):
        assert folds[0].over_folds() != other.over_folds()
