"""Targets as label distributions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def as_distributions(target: Tensor, num_classes: int) -> Tensor:
    """Float label distributions `(B, K)` of class indices `(B,)`, or of label distributions `(B, K)` themselves."""
    return F.one_hot(target, num_classes).float() if target.ndim == 1 else target.float()
