from __future__ import annotations

import math

import pytest
import torch

from fer_lightning.losses.cross_entropy import CrossEntropy

LOGITS = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])  # probabilities (1/4, 3/4) and (4/5, 1/5)


def loss_of(target: torch.Tensor, smoothing: float = 0.0, weights: str = "none") -> float:
    return float(CrossEntropy([30, 10], label_smoothing=smoothing, class_weights=weights)(LOGITS, target))


def test_indices():
    expected = -(math.log(3 / 4) + math.log(4 / 5)) / 2
    assert loss_of(torch.tensor([1, 0])) == pytest.approx(expected)


def test_distributions():
    target = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    first = -0.5 * math.log(1 / 4) - 0.5 * math.log(3 / 4)
    second = -0.9 * math.log(4 / 5) - 0.1 * math.log(1 / 5)
    assert loss_of(target) == pytest.approx((first + second) / 2)


def test_smoothing_spreads_its_share_over_all_classes():
    first = -0.1 * math.log(1 / 4) - 0.9 * math.log(3 / 4)
    second = -0.9 * math.log(4 / 5) - 0.1 * math.log(1 / 5)
    assert loss_of(torch.tensor([1, 0]), smoothing=0.2) == pytest.approx((first + second) / 2)


def test_one_hot_distributions_equal_indices_under_smoothing():
    one_hot = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert loss_of(one_hot, smoothing=0.2) == pytest.approx(loss_of(torch.tensor([1, 0]), smoothing=0.2))


def test_inverse_weights():
    loss = CrossEntropy([30, 10], label_smoothing=0.0, class_weights="inverse")
    assert loss.weight.tolist() == pytest.approx([40 / 60, 40 / 20])
    assert 30 * loss.weight[0] + 10 * loss.weight[1] == pytest.approx(40)
    # Indices: the weighted mean, so the scale of the weights does not matter.
    weighted = -(2.0 * math.log(3 / 4) + (2 / 3) * math.log(4 / 5)) / (2.0 + 2 / 3)
    assert loss_of(torch.tensor([1, 0]), weights="inverse") == pytest.approx(weighted)


def test_inverse_weights_stay_finite_where_a_class_has_no_images():
    loss = CrossEntropy([30, 0], label_smoothing=0.1, class_weights="inverse")
    assert torch.isfinite(loss(torch.zeros(2, 2), torch.tensor([0, 0])))


def test_inverse_weights_of_distributions():
    target = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    first = -0.5 * (2 / 3) * math.log(1 / 4) - 0.5 * 2.0 * math.log(3 / 4)
    second = -(2 / 3) * math.log(4 / 5)
    assert loss_of(target, weights="inverse") == pytest.approx((first + second) / 2)


def test_half_precision_logits_give_a_full_precision_loss():
    loss = CrossEntropy([30, 10], label_smoothing=0.0, class_weights="none")
    assert loss(LOGITS.bfloat16(), torch.tensor([1, 0])).dtype == torch.float32


def test_weights_are_no_part_of_a_checkpoint():
    assert CrossEntropy([30, 10], label_smoothing=0.0, class_weights="inverse").state_dict() == {}


@pytest.mark.parametrize(("smoothing", "weights", "message"), [(1.0, "none", "got 1.0"), (0.0, "some", "got some")])
def test_refuses_bad_options(smoothing, weights, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropy([30, 10], label_smoothing=smoothing, class_weights=weights)
