"""A loss: any module from logits and targets to a scalar. It is called with the options of its config.

A constructor that has the argument `class_counts` gets the training images of each class as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FocalLoss(nn.Module):
    """Cross-entropy that weighs each image by `(1 - p)^gamma`, p the probability of its class.

    Paper: T.-Y. Lin et al., Focal loss for dense object detection (2017), https://arxiv.org/abs/1708.02002.

    Args:
        gamma: Exponent; 0 is cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: `(B, K)`.
            target: Class indices `(B,)` or, with soft labels or mixing, label distributions `(B, K)`.
        """
        if target.ndim == 1:
            target = nn.functional.one_hot(target, logits.shape[1]).to(logits.dtype)
        log_p = torch.log_softmax(logits, dim=1)
        return -(target * (1 - log_p.exp()) ** self.gamma * log_p).sum(dim=1).mean()
