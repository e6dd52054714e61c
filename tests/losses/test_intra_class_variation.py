from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fer_lightning.losses.intra_class_variation import IntraClassVariation

FEATURES = torch.tensor([[0.0, 0.0], [2.0, 4.0], [9.0, 9.0], [1.0, 0.0], [1.0, 3.0], [1.0, 6.0]])
TARGET = torch.tensor([0, 0, 1, 2, 2, 2])


def test_by_hand():
    # Class 0: mean (1, 2), variance 5; class 2: mean (1, 3), variance (9 + 0 + 9) / 3; others: at most one image.
    assert float(IntraClassVariation(4)(FEATURES, TARGET)) == pytest.approx((5 + 6) / 2)


def test_equals_torch_variance():
    features, target = torch.randn(60, 5), torch.arange(60) % 3
    variances = [features[target == k].var(dim=0, unbiased=False).sum() for k in range(3)]
    torch.testing.assert_close(IntraClassVariation(3)(features, target), torch.stack(variances).mean())


def test_distributions_weigh_images():
    """Means 0.5 and 1.5; variances 0.75 for both classes, whose shares are 2 of 4 images each."""
    features = torch.tensor([[0.0], [0.0], [2.0], [2.0]])
    target = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    assert float(IntraClassVariation(2)(features, target)) == pytest.approx(0.75)


def test_one_hot_distributions_equal_indices():
    loss = IntraClassVariation(4)
    assert torch.equal(loss(FEATURES, F.one_hot(TARGET, 4).double()), loss(FEATURES, TARGET))


def test_gradient_moves_no_class_as_a_whole():
    features = FEATURES.clone().requires_grad_()
    IntraClassVariation(4)(features, TARGET).backward()
    for k in range(3):
        torch.testing.assert_close(features.grad[TARGET == k].sum(dim=0), torch.zeros(2))
    assert features.grad[TARGET == 0].tolist() == [[-0.5, -1.0], [0.5, 1.0]]  # 2 / (2 classes * 2 images) * (x - mean)


def test_gradient_equals_finite_differences():
    loss = IntraClassVariation(4)
    features = FEATURES.clone().requires_grad_()
    loss(features, TARGET).backward()
    for row, column in ((0, 0), (2, 1), (4, 1), (5, 0)):
        step = torch.zeros_like(FEATURES)
        step[row, column] = 0.25  # the loss is quadratic, so the difference is exact
        difference = (loss(FEATURES + step, TARGET) - loss(FEATURES - step, TARGET)) / 0.5
        assert float(features.grad[row, column]) == pytest.approx(float(difference), abs=1e-5)


def test_no_class_seen_twice():
    features = FEATURES[[0, 2]].clone().requires_grad_()
    loss = IntraClassVariation(4)(features, TARGET[[0, 2]])
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()


def test_autocast_computes_in_full_precision():
    features = (FEATURES + 100).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = IntraClassVariation(4)(features, TARGET)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, IntraClassVariation(4)(features.float(), TARGET))


def test_has_no_state():
    assert IntraClassVariation(4).state_dict() == {}
