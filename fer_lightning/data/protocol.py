"""The protocol: everything that must be equal before two accuracies may be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from fer_lightning.errors import UserError


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

    dataset: str
    release: str
    classes: tuple[str, ...]
    label_rule: str
    split: str
    selection: str
    test: str
    counts: Mapping[str, int]
    fingerprint: str

    def to_dict(self) -> dict[str, object]:
        """Plain JSON-ready values."""
        return {**asdict(self), "classes": list(self.classes), "counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Protocol:
        """Inverse of `to_dict`."""
        known = {key.name: values[key.name] for key in fields(cls)}
        known["classes"] = tuple(known["classes"])  # type: ignore[arg-type]
        return cls(**known)  # type: ignore[arg-type]

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

    def require_same(self, other: Protocol) -> None:
        """Refuses a comparison of results that were not obtained in the same way.

        Raises:
            UserError: The protocols differ.
        """
        if names := self.differences(other):
            told = "; ".join(f"{name}: {getattr(self, name)!r} and {getattr(other, name)!r}" for name in names)
            raise UserError(f"These results follow different protocols and cannot be compared ({told}).")
