"""Protocol of a result: data, labels and splits, which must be equal for two results to be comparable."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fer_lightning.errors import UserError, problem_of

Text = Annotated[str, Field(max_length=2000)]
_LONGEST_NAME = 100  # characters
AFFECT = ("valence", "arousal")  # besides the classes, from -1 to 1; columns of tables of predictions


@dataclass(frozen=True)
class Protocol:
    """Data, labels and splits that a score belongs to.

    Attributes:
        dataset: Name of the data set, for example `"fer2013"`.
        release: Layout or repackaged version of the data set.
        classes: Class names in the order of the logits.
        label_rule: Rule by which labels follow from annotations.
        split: Definition of the splits, in words.
        selection: Split on which the best epoch is chosen.
        test: Split on which the final score is computed.
        counts: Images per split.
        fingerprint: Hash over image content keys, labels and the split of every row.
        tta: Test-time augmentation: `"none"`, `"mirror"` or `"crops"`.
        prior: Class prior of the predictions: `"training"`, `"balanced"`, or the shares by class (see `PriorShift`).
    """

    dataset: Text
    release: Text
    classes: Annotated[tuple[str, ...], Field(strict=False, max_length=1000)]
    label_rule: Text
    split: Text
    selection: Text
    test: Text
    counts: Annotated[Mapping[str, Annotated[int, Field(strict=True, ge=0)]], Field(max_length=100)]
    fingerprint: Text
    tta: Text = "none"
    prior: Text = "training"

    def to_dict(self) -> dict[str, object]:
        """Fields as JSON values."""
        return {**asdict(self), "classes": list(self.classes), "counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Protocol:
        """Inverse of `to_dict`.

        Raises:
            UserError: A field is missing or has the wrong type.
        """
        try:
            protocol = _STORED.validate_python(values)
        except ValidationError as error:
            raise UserError(f"protocol: {problem_of(error)}") from None
        check_class_names(protocol.classes)
        return protocol

    def over_folds(self) -> Protocol:
        """Protocol of the whole cross-validation if this one is of a fold, otherwise itself."""
        split, folds = re.subn(r", fold \d+", "", self.split)
        if not folds:
            return self
        images = {"in all splits": sum(self.counts.values())}
        return replace(self, split=split, selection="the next fold", test="each fold", counts=images, fingerprint="")

    def differences(self, other: Protocol) -> list[str]:
        """Names of the fields in which the protocols differ."""
        return [key.name for key in fields(self) if getattr(self, key.name) != getattr(other, key.name)]

    def require_same(self, other: Protocol, results: str = "These results") -> None:
        """Checks that two results are comparable.

        Args:
            other: Protocol of the second result.
            results: Name of the two results in the error message.

        Raises:
            UserError: The protocols differ.
        """
        if names := self.differences(other):
            values = "; ".join(f"{name}: {getattr(self, name)!r} and {getattr(other, name)!r}" for name in names)
            raise UserError(f"{results} follow different protocols and cannot be compared ({values}).")


_STORED = TypeAdapter(Protocol)


def check_class_names(names: Sequence[str]) -> None:
    """Checks class names, which are shown in tables, terminals and web pages.

    Raises:
        UserError: There are none, two are equal, or one is empty, too long or not printable.
    """
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UserError(
                f"a class name must be 1 to {_LONGEST_NAME} printable characters; got {ascii(name)[:_LONGEST_NAME]}."
            )
    if not names or len(set(names)) < len(names):
        raise UserError(f"class names must be all different; got {', '.join(names)[:300] or 'none'}.")


def suggest_class(name: str, classes: Sequence[str]) -> str:
    """End of a message about an unknown class: the closest one, or all of them."""
    close = difflib.get_close_matches(name, classes, n=1)
    return f"did you mean {close[0]}?" if close else f"the classes are {', '.join(classes)}."
