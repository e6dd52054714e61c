from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from fer_lightning.losses.distillation import Distillation


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("hard_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_equation_of_hinton_with_logits_of_the_teacher(temperature, hard_weight, smoothing):
    rng = np.random.default_rng(0)
    student, teacher, labels = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), np.eye(4)[rng.integers(4, size=5)]
    smoothed = (1 - smoothing) * labels + smoothing / 4
    hard = -(smoothed * log_softmax(student, axis=1)).sum(1).mean()
    soft = -(softmax(teacher / temperature, axis=1) * log_softmax(student / temperature, axis=1)).sum(1).mean()
    target = torch.tensor(np.stack([labels, softmax(teacher, axis=1)], axis=1), dtype=torch.float32)
    loss = Distillation(temperature, hard_weight, smoothing)(torch.tensor(student), target)
    assert float(loss) == pytest.approx(hard_weight * hard + (1 - hard_weight) * temperature**2 * soft, rel=1e-5)


def test_without_labels_the_student_becomes_its_teacher():
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    labels = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    logits = torch.zeros(2, 3, requires_grad=True)
    optimizer, loss = torch.optim.SGD([logits], lr=2.0), Distillation(temperature=2.0, hard_weight=0.0)
    for _ in range(2000):
        optimizer.zero_grad()
        loss(logits, torch.stack([labels, teacher], dim=1)).backward()
        optimizer.step()
    torch.testing.assert_close(logits.detach().softmax(dim=1), teacher, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", 0.0), ("temperature", float("nan")), ("hard_weight", 1.1), ("hard_weight", -1)],
)
def test_options_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"loss.{option} must be"):
        Distillation(**{option: value})


def test_label_smoothing_out_of_range():
    with pytest.raises(ValueError, match="below 1; got 1"):
        Distillation(label_smoothing=1.0)


def test_targets_without_a_teacher():
    with pytest.raises(ValueError, match=r"needs targets \(B, 2, K\) that hold a teacher; got \(2,\)"):
        Distillation()(torch.zeros(2, 3), torch.tensor([0, 2]))
