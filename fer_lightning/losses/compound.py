"""HAFEM's compound loss: smoothed cross-entropy, center loss and, optionally, intra-class variation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fer_lightning.losses.center import CenterLoss, IntraClassVariation
from fer_lightning.losses.label_smoothing import DistributionAwareCrossEntropy


class CompoundLoss(nn.Module):
    """`cross-entropy + center_weight * center loss + variation_weight * intra-class variation`.

    The cross-entropy is a `DistributionAwareCrossEntropy`. A term with weight 0 is not computed.

    Args:
        class_counts: Training images of each class, `(K,)`.
        embed_dim: Size D of the features.
        label_smoothing: Mean share of the targets that is spread over the classes.
        amount_exponent: Exponent of the smoothing amount; above 0, labels of frequent classes are smoothed more.
        target_exponent: Exponent of the smoothing target; above 0, rare classes get more of the smoothed share.
        center_weight: Weight of the center loss.
        center_alpha: Step size of the class centres.
        variation_weight: Weight of the intra-class variation.

    Readings:
        The abstract names three terms (cross-entropy, center loss, distribution-aware label smoothing) and no
        weights. Here the smoothing acts on the cross-entropy, and the weights are our choice: center loss and variation
        grow with the squared norm of the features, so another net may need other weights.

    Raises:
        ValueError: An option is out of range.
    """

    needs_features = True

    def __init__(
        self,
        class_counts: Sequence[int],
        embed_dim: int,
        label_smoothing: float = 0.1,
        amount_exponent: float = 0.5,
        target_exponent: float = 0.5,
        center_weight: float = 0.01,
        center_alpha: float = 0.5,
        variation_weight: float = 0.0,
    ) -> None:
        super().__init__()
        for name, weight in (("center_weight", center_weight), ("variation_weight", variation_weight)):
            if not 0 <= weight < float("inf"):
                raise ValueError(f"loss.{name} must be a positive number, or 0 to disable the term; got {weight}.")
        self.center_weight = center_weight
        self.variation_weight = variation_weight
        self.cross_entropy = DistributionAwareCrossEntropy(
            class_counts, label_smoothing, amount_exponent, target_exponent
        )
        self.center = CenterLoss(len(class_counts), embed_dim, center_alpha) if center_weight else None
        self.variation = IntraClassVariation(len(class_counts)) if variation_weight else None

    def forward(self, logits: Tensor, target: Tensor, features: Tensor) -> Tensor:
        """Mean loss of a batch; updates the class centres in training mode.

        Args:
            logits: `(B, K)`.
            target: Class indices `(B,)` or label distributions `(B, K)`.
            features: The embedding `(B, D)` that the logits come from.

        Returns:
            Scalar.
        """
        loss = self.cross_entropy(logits, target)
        if self.center is not None:
            loss = loss + self.center_weight * self.center(features, target)
        if self.variation is not None:
            loss = loss + self.variation_weight * self.variation(features, target)
        return loss
