"""The protocol: everything that must be equal before two accuracies may be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fer_lightning.errors import UserError, problem_of

Text = Annotated[str, Field(max_length=2000)]
_LONGEST_NAME = 100  # characters


@dataclass(frozen=True)
class Protocol:
    """How a number came about.

    Attributes:
        dataset: Name of the dataset, for example `"fer2013"`.
        release: Layout or re-pack that was read.
        classes: Class names in the order of the logits.
        label_rule: How labels follow from annotations.
        split: Definition of the splits, in words.
        selection: What the best epoch is chosen on.
        test: What the final score is computed on.
        counts: Images per split.
        fingerprint: Hash over image content keys, labels and the split of every row.
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

    def to_dict(self) -> dict[str, object]:
        """Plain JSON-ready values."""
        return {**asdict(self), "classes": list(self.classes), "counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Protocol:
        """Inverse of `to_dict`.

        Raises:
            UserError: A value is missing, or of another type.
        """
        try:
            protocol = _STORED.validate_python(values)
        except ValidationError as error:
            raise UserError(f"protocol: {problem_of(error)}") from None
        check_class_names(protocol.classes)
        return protocol

    def over_folds(self) -> Protocol:
        """The protocol of which this one is a fold, without what changes from fold to fold; itself where it is none."""
        split, found = re.subn(r", fold \d+", "", self.split)
        if not found:
            return self
        images = {"in all splits": sum(self.counts.values())}
        return replace(self, split=split, selection="the next fold", test="each fold", counts=images, fingerprint="")

    def differences(self, other: Protocol) -> list[str]:
        """Names of the fields in which two protocols differ."""
        return [key.name for key in fields(self) if getattr(self, key.name) != getattr(other, key.name)]

    def require_same(self, other: Protocol, results: str = "These results") -> None:
        """Refuses a comparison of results that were not obtained in the same way.

        Args:
            other: The protocol of the second result.
            results: Both of them, as the message names them.

        Raises:
            UserError: The protocols differ.
        """
        if names := self.differences(other):
            told = "; ".join(f"{name}: {getattr(self, name)!r} and {getattr(other, name)!r}" for name in names)
            raise UserError(f"{results} follow different protocols and cannot be compared ({told}).")


_STORED = TypeAdapter(Protocol)


def check_class_names(names: Sequence[str]) -> None:
    """Refuses what cannot be the classes of a task: names go into tables, terminals and web pages.

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
