"""Valence and arousal as a second output of any network with an embedding, and the loss that trains it.

Model of emotion: J. A. Russell, A circumplex model of affect, Journal of Personality and Social Psychology 39 (1980).
Loss: L. I.-K. Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics 45 (1989).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError

_SMALLEST = 1e-8


class AffectHead(nn.Module):
    """Valence and arousal `tanh(W x + b)`, from -1 to 1, of an embedding x.

    Args:
        embed_dim: Size D of the embedding.

    Example:
        >>> AffectHead(128)(torch.zeros(2, 128)).shape
        torch.Size([2, 2])
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Valence and arousal (B, 2), float32, of embeddings (B, D)."""
        return self.linear(features).float().tanh()


def add_affect_head(net: Any) -> None:
    """Adds an `AffectHead` with random weights to a network, whose `forward` still returns logits alone.

    Args:
        net: An `Architecture` with `embed_dim`, `forward_features` and `forward_head`.

    Raises:
        UserError: The network has no embedding.
    """
    if not hasattr(net, "forward_features"):
        raise UserError(
            f"Valence and arousal need a network with an embedding; {type(net).__name__} has none: use another model, "
            "or data.affect=false."
        )
    net.affect_head = AffectHead(net.embed_dim)
    net.options["affect"] = True


def classes_and_affect(net: Any, image: Tensor, *side: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, K), and valence and arousal (B, 2), of images (B, C, H, W) and auxiliary inputs (B, S), if any."""
    features = net.forward_features(image, *side)
    return net.forward_head(features), net.affect_head(features)


class ConcordanceLoss(nn.Module):
    """`1 - CCC`, the mean over the columns, with `CCC = 2 s_xy / (s_x^2 + s_y^2 + (mean_x - mean_y)^2)`.

    Readings:
        - Means and variances are those of the batch, with n - 1 as in torchmetrics, so small batches are noisy.
        - Targets that are NaN, not annotated, do not count. A column with fewer than two others has the loss 0.

    Example:
        >>> predicted = torch.tensor([[0.1, 0.0], [0.5, 0.4], [-0.2, 0.9]])
        >>> target = torch.tensor([[0.1, 0.0], [0.5, float("nan")], [-0.2, 0.9]])
        >>> abs(round(float(ConcordanceLoss()(predicted, target)), 4))
        0.0
    """

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            predicted: `(B, D)`.
            target: `(B, D)`, NaN where it is not known.

        Returns:
            Scalar, from 0 to 2.
        """
        losses = [_loss(x[y.isfinite()], y[y.isfinite()]) for x, y in zip(predicted.float().T, target.float().T)]
        return torch.stack(losses).mean()


def _loss(x: Tensor, y: Tensor) -> Tensor:
    if len(x) < 2:
        return x.sum() * 0
    covariance = ((x - x.mean()) * (y - y.mean())).sum() / (len(x) - 1)
    return 1 - 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2).clamp_min(_SMALLEST)
