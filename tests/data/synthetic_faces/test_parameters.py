from __future__ import annotations

from dataclasses import asdict

from fer_lightning.data.labels import CANONICAL_ORDER
from fer_lightning.data.synthetic_faces.parameters import PROTOTYPES

# The action units that every source lists first for an expression.
CORE = {
    "angry": {"au4"},
    "disgust": {"au9"},
    "fear": {"au1", "au4", "au5", "au20"},
    "happy": {"au12", "au6"},
    "sad": {"au1", "au15"},
    "surprise": {"au1", "au2", "au26"},
    "neutral": set(),
    "contempt": {"au14"},
}


def test_every_expression_has_its_core_units() -> None:
    assert set(PROTOTYPES) == set(CANONICAL_ORDER) == set(CORE)
    for expression, variants in PROTOTYPES.items():
        for units in variants:
            active = {name for name, amount in asdict(units).items() if name != "side" and amount >= 0.4}
            assert CORE[expression] <= active


def test_contempt_alone_is_one_sided() -> None:
    sides = {name: {units.side for units in variants} for name, variants in PROTOTYPES.items()}
    assert sides.pop("contempt") == {-1.0, 1.0}
    assert all(side == {0.0} for side in sides.values())
