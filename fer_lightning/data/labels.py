"""Label sets: one canonical order of expression names for all data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fer_lightning.errors import UserError, require_known
from fer_lightning.results.protocol import check_class_names, suggest_class

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

# Named class groups. The valence of surprise depends on what surprises, so that `valence3` leaves it out.
GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "valence3": {
        "negative": ("angry", "disgust", "fear", "sad", "contempt"),
        "neutral": ("neutral",),
        "positive": ("happy",),
    }
}


@dataclass(frozen=True, eq=False)
class ClassGroups:
    """Groups of classes, which replace the classes of a data set or of a prediction.

    Attributes:
        name: Name of the groups, as in a protocol: `"valence3"`, or each group with its classes.
        label_set: The groups, as classes.
        membership: Group of each class, float32 `(K, G)` of zeros and ones; a class that is left out has zeros alone.

    Example:
        >>> groups = ClassGroups.of({"low": ["sad", "neutral"], "high": ["happy", "surprise"]}, SEVEN.classes)
        >>> groups.label_set.classes
        ('high', 'low')
        >>> groups.probabilities(np.full((1, 7), 1 / 7)).tolist()
        [[0.5, 0.5]]
    """

    name: str
    label_set: LabelSet
    membership: np.ndarray

    @classmethod
    def of(cls, groups: str | Mapping[str, Sequence[str]], classes: Sequence[str]) -> ClassGroups:
        """Groups of the classes of a data set or a network.

        Args:
            groups: A key of `GROUPS`, or the classes of each group by its name. Classes in no group are left out.
            classes: Names of the K classes.

        Raises:
            UserError: There are fewer than two groups, or a group has no class, an unknown one or one of another group.
        """
        if isinstance(groups, str):
            require_known("groups", groups, GROUPS)
            # Not every data set has each of them, such as contempt.
            chosen = {name: [each for each in members if each in classes] for name, members in GROUPS[groups].items()}
        else:
            chosen = {str(name): [canonical_name(str(each)) for each in members] for name, members in groups.items()}
        label_set = LabelSet.of(chosen)
        if len(label_set) < 2 or len(label_set) < len(chosen):
            raise UserError(f"groups must be two or more with different names; got {', '.join(chosen) or 'none'}.")
        membership = np.zeros((len(classes), len(label_set)), np.float32)
        for name, members in chosen.items():
            if not members:
                raise UserError(f"groups: {name} must have at least one class of {', '.join(classes)}; it has none.")
            for member in members:
                if member not in classes:
                    hint = suggest_class(member, classes)
                    raise UserError(f"groups: {name} has the unknown class {member!r}: {hint}")
                row = membership[list(classes).index(member)]
                if row.any():
                    raise UserError(f"groups: a class must be in one group; {member} is in two: omit it in {name}.")
                row[label_set.index(name)] = 1
        described = "; ".join(f"{name}: {', '.join(members)}" for name, members in chosen.items())
        return cls(groups if isinstance(groups, str) else described, label_set, membership)

    def probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities `(N, G)` of the groups, from those `(N, K)` of the classes.

        Without the classes that are left out, so that rows sum to 1; of a row that has nothing else, all are equal.
        """
        summed = probabilities @ self.membership.astype(probabilities.dtype)
        totals = summed.sum(axis=1, keepdims=True)
        return np.where(totals > 0, summed / np.where(totals > 0, totals, 1), 1 / len(self.label_set))
