"""Label sets: one canonical order of expression names for all data sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fer_lightning.errors import UserError
from fer_lightning.results.protocol import check_class_names

CANONICAL_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
_ALIASES = {
    "anger": "angry", "disgusted": "disgust", "afraid": "fear", "fearful": "fear", "fearness": "fear",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "surprised": "surprise", "contemptuous": "contempt",
}  # fmt: skip


def canonical_name(name: str) -> str:
    """Canonical name of an expression (`"Happiness"` -> `"happy"`); an unknown name in lower case."""
    plain = name.strip().lower()
    return _ALIASES.get(plain, plain)


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task, in the order of the logits.

    Attributes:
        classes: Canonical class names: a subset of `CANONICAL_ORDER` in that order, then other names alphabetically.
    """

    classes: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> LabelSet:
        """Builds the label set that holds `names` (any order, any known alias).

        Raises:
            UserError: See `check_class_names`.
        """
        unique = {canonical_name(name) for name in names}
        known = [name for name in CANONICAL_ORDER if name in unique]
        classes = tuple(known + sorted(unique - set(known)))
        check_class_names(classes)
        return cls(classes)

    def __len__(self) -> int:
        return len(self.classes)

    def index(self, name: str) -> int:
        """Position of a class, by any known alias of its name.

        Raises:
            UserError: The name belongs to no class of this set.
        """
        plain = canonical_name(name)
        if plain not in self.classes:
            raise UserError(f"Unknown expression {name!r}: choose one of {', '.join(self.classes)}.")
        return self.classes.index(plain)


SEVEN = LabelSet.of(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))

EIGHT = LabelSet.of(CANONICAL_ORDER)
