"""Cross-entropy for class indices and label distributions, with smoothing and class weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossEntropy(nn.Module):
    """Cross-entropy of softmax(logits).

    Args:
        class_counts: Training images of each class, `(K,)`; `class_weights="inverse"` needs them.
        label_smoothing: Share of the target that is spread evenly over all classes, 0 <= s < 1.
        class_weights: `"none"`, or `"inverse"` to weigh each class by its inverse frequency (the mean weight over the
            training images is 1).

    Raises:
        ValueError: Unknown `class_weights`, or `label_smoothing` out of range.
    """

    weight: Tensor | None

    def __init__(
        self, class_counts: Sequence[int] = (), label_smoothing: float = 0.1, class_weights: str = "none"
    ) -> None:
        super().__init__()
        if class_weights not in ("none", "inverse"):
            raise ValueError(f"loss.class_weights must be none or inverse; got {class_weights}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"loss.label_smoothing must be at least 0 and below 1; got {label_smoothing}.")
        if class_weights == "inverse" and not class_counts:
            raise ValueError("loss.class_weights=inverse needs class_counts, the training images of each class.")
        # With label smoothing, a class without images is part of every target: its weight must be finite.
        counts = torch.tensor(class_counts, dtype=torch.float32).clamp_min(1)
        weight = counts.sum() / (len(counts) * counts) if class_weights == "inverse" else None
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: `(B, K)`.
            target: Class indices `(B,)` or label distributions `(B, K)`.

        Returns:
            Scalar, in nats.
        """
        return F.cross_entropy(logits.float(), target, weight=self.weight, label_smoothing=self.label_smoothing)
