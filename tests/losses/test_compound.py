from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fer_lightning.losses.center import CenterLoss, IntraClassVariation
from fer_lightning.losses.compound import CompoundLoss
from fer_lightning.losses.label_smoothing import DistributionAwareCrossEntropy

COUNTS = [30, 10, 20]
LOGITS = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 3.0, 1.0]])
FEATURES = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
TARGET = torch.tensor([2, 0, 0, 1])


def make(center: float = 0.1, variation: float = 0.3, **options: float) -> CompoundLoss:
    smoothing = {"label_smoothing": 0.1, "amount_exponent": 0.5, "target_exponent": 0.5}
    return CompoundLoss(
        COUNTS,
        embed_dim=2,
        **{**smoothing, "center_weight": center, "center_alpha": 0.5, "variation_weight": variation, **options},
    )


def test_is_the_weighted_sum():
    cross_entropy = DistributionAwareCrossEntropy(COUNTS, 0.1, 0.5, 0.5)(LOGITS, TARGET)
    # Squared lengths 1, 4, 9 and 2 around centres at zero; class 0 has mean (1.5, 1) and variance 3.25.
    expected = float(cross_entropy) + 0.1 * 16 / 8 + 0.3 * 3.25
    assert float(make()(LOGITS, TARGET, FEATURES)) == pytest.approx(expected)


def test_follows_the_centres():
    loss, center, variation = make(), CenterLoss(3, 2, 0.5), IntraClassVariation(3)
    for _ in range(3):
        features = torch.randn(4, 2)
        expected = loss.cross_entropy(LOGITS, TARGET) + 0.1 * center(features, TARGET)
        expected = expected + 0.3 * variation(features, TARGET)
        torch.testing.assert_close(loss(LOGITS, TARGET, features), expected)


def test_weights_of_zero_turn_terms_off():
    loss = make(center=0.0, variation=0.0)
    features = FEATURES.clone().requires_grad_()
    value = loss(LOGITS, TARGET, features)
    assert torch.equal(value, DistributionAwareCrossEntropy(COUNTS, 0.1, 0.5, 0.5)(LOGITS, TARGET))
    assert not value.requires_grad
    assert [type(part) for part in loss.children()] == [DistributionAwareCrossEntropy]
    assert loss.state_dict() == {}


def test_gradient_reaches_logits_and_features_and_not_the_centres():
    loss = make()
    logits, features = LOGITS.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    loss(logits, TARGET, features).backward()
    assert logits.grad.any() and features.grad.any()
    assert list(loss.parameters()) == []


def test_one_hot_distributions_equal_indices():
    hard, soft = make(), make()
    for _ in range(2):
        one_hot = F.one_hot(TARGET, 3).float()
        torch.testing.assert_close(soft(LOGITS, one_hot, FEATURES), hard(LOGITS, TARGET, FEATURES))


def test_half_precision_gives_a_full_precision_loss():
    with torch.autocast("cpu", torch.bfloat16):
        value = make()(LOGITS.bfloat16(), TARGET, FEATURES.bfloat16())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, make()(LOGITS, TARGET, FEATURES))  # the numbers here survive the rounding


def test_state_dict_carries_the_centres():
    loss, other = make(), make()
    loss(LOGITS, TARGET, FEATURES)
    other.load_state_dict(loss.state_dict())
    assert loss.state_dict().keys() == {"center.centers"}
    assert torch.equal(other(LOGITS, TARGET, FEATURES), loss(LOGITS, TARGET, FEATURES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"center": -1.0}, "loss.center_weight must be a positive number, or 0 to disable the term; got -1.0"),
        ({"variation": float("nan")}, "loss.variation_weight must be .*; got nan"),
        ({"center_alpha": 2.0}, "loss.center_alpha must be .*; got 2.0"),
        ({"label_smoothing": 1.0}, "loss.label_smoothing must be .*; got 1.0"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
