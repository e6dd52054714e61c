"""Knowledge distillation: a network learns from the labels and from the probabilities of a trained teacher.

Paper: G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network (2015),
https://arxiv.org/abs/1503.02531
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Distillation(nn.Module):
    """`hard_weight * CE(labels, softmax(z)) + (1 - hard_weight) * T^2 * CE(teacher_T, softmax(z / T))`.

    CE is the cross-entropy, z are the logits, T is the temperature, and `teacher_T` are the teacher's probabilities p
    at this temperature, `p^(1/T) / sum p^(1/T)`.

    Args:
        temperature: Temperature T > 0; above 1, the teacher's small probabilities count more.
        hard_weight: Weight of the labels, from 0 (the teacher alone) to 1 (the labels alone).
        label_smoothing: Share of the labels that is spread evenly over all classes.

    Readings:
        - The factor T^2, which keeps the gradients of both terms on one scale, is that of section 2 of the paper.
        - The paper softens the teacher's logits. Probabilities, of which a teacher of several networks has a mean, give
          the same: their logarithms are the logits up to a constant.
        - Under mixup, the teacher's probabilities of both images are mixed first, and then softened.

    Raises:
        ValueError: An option is out of range.

    Example:
        >>> import torch
        >>> labels, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.2]])
        >>> loss = Distillation(temperature=1.0, hard_weight=0.0)
        >>> round(float(loss(torch.tensor([[0.8, 0.2]]).log(), torch.stack([labels, teacher], dim=1))), 4)
        0.5004
    """

    def __init__(self, temperature: float = 2.0, hard_weight: float = 0.1, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"loss.temperature must be a positive number; got {temperature}.")
        if not 0 <= hard_weight <= 1:
            raise ValueError(f"loss.hard_weight must be from 0 to 1; got {hard_weight}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"loss.label_smoothing must be at least 0 and below 1; got {label_smoothing}.")
        self.temperature = temperature
        self.hard_weight = hard_weight
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: `(B, K)`.
            target: Label distributions and the teacher's probabilities `(B, 2, K)`.

        Returns:
            Scalar, in nats.

        Raises:
            ValueError: The targets have no probabilities of a teacher.
        """
        if target.ndim != 3:
            raise ValueError(f"Distillation needs targets (B, 2, K) that hold a teacher; got {tuple(target.shape)}.")
        labels, teacher = target.float().unbind(dim=1)
        logits = logits.float()
        hard = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        softened = (teacher.clamp_min(1e-12).log() / self.temperature).softmax(dim=1)
        soft = F.cross_entropy(logits / self.temperature, softened) * self.temperature**2
        return self.hard_weight * hard + (1 - self.hard_weight) * soft
