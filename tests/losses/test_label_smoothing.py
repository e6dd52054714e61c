from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fer_lightning.losses.label_smoothing import DistributionAwareCrossEntropy, as_distributions

# Square roots 4, 1 and 5, so the halves of the exponents give plain numbers.
COUNTS = [16, 1, 25]


def make(
    counts: list[int] = COUNTS, smoothing: float = 0.1, amount: float = 0.5, target: float = 0.5
) -> DistributionAwareCrossEntropy:
    return DistributionAwareCrossEntropy(
        counts, label_smoothing=smoothing, amount_exponent=amount, target_exponent=target
    )


def test_amount_and_spread_by_hand():
    loss = make()
    # e_k = 0.1 * 42 * sqrt(n_k) / (16 * 4 + 1 * 1 + 25 * 5); q_k is proportional to 1/4, 1 and 1/5
    assert loss.amount.tolist() == pytest.approx([4.2 * 4 / 190, 4.2 * 1 / 190, 4.2 * 5 / 190])
    assert loss.spread.tolist() == pytest.approx([0.25 / 1.45, 1 / 1.45, 0.2 / 1.45])


def test_loss_by_hand():
    # amounts 0.1 * 4 * n_k / 10 = 0.12 and 0.04; spread 1/4 and 3/4
    loss = make([3, 1], amount=1.0, target=1.0)
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])  # probabilities (1/4, 3/4) and (4/5, 1/5)
    first = -0.01 * math.log(1 / 4) - 0.99 * math.log(3 / 4)
    second = -0.91 * math.log(4 / 5) - 0.09 * math.log(1 / 5)
    assert float(loss(logits, torch.tensor([1, 0]))) == pytest.approx((first + second) / 2)


@pytest.mark.parametrize(("amount", "target"), [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (-1.0, -0.7)])
def test_equals_the_formula_term_by_term(amount, target):
    counts, smoothing = [40, 7, 90, 23], 0.15
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator)
    given = torch.rand(6, 4, generator=generator)
    given /= given.sum(dim=1, keepdim=True)
    mean, total = sum(counts) / 4, sum(counts)
    scale = sum(n * (n / mean) ** amount for n in counts)
    amounts = [smoothing * total * (n / mean) ** amount / scale for n in counts]
    spread = [(n / mean) ** -target / sum((m / mean) ** -target for m in counts) for n in counts]
    losses = []
    for row, label in zip(logits.tolist(), given.tolist()):
        log_sum = math.log(sum(math.exp(value) for value in row))
        taken = sum(amounts[j] * label[j] for j in range(4))
        smooth = [(1 - amounts[k]) * label[k] + spread[k] * taken for k in range(4)]
        losses.append(-sum(smooth[k] * (row[k] - log_sum) for k in range(4)))
    computed = make(counts, smoothing, amount, target)(logits, given)
    assert float(computed) == pytest.approx(sum(losses) / 6, rel=1e-5)


@pytest.mark.parametrize("exponent", [-1.0, -0.3, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [1, 3, 4101])
def test_is_ordinary_smoothing_for_classes_of_equal_size(size, exponent):
    loss = make([size] * 7, amount=exponent, target=exponent)
    assert (loss.amount == torch.tensor(0.1)).all()
    assert (loss.spread == torch.tensor(1 / 7)).all()
    logits, target = torch.randn(64, 7), torch.randint(7, (64,))
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target, label_smoothing=0.1))
    soft = torch.rand(64, 7).softmax(dim=1)
    torch.testing.assert_close(loss(logits, soft), F.cross_entropy(logits, soft, label_smoothing=0.1))


def test_exponents_of_zero_are_ordinary_smoothing_for_any_sizes():
    logits, target = torch.randn(64, 3), torch.randint(3, (64,))
    ordinary = F.cross_entropy(logits, target, label_smoothing=0.1)
    torch.testing.assert_close(make(amount=0.0, target=0.0)(logits, target), ordinary)
    assert not torch.isclose(make()(logits, target), ordinary)


@pytest.mark.parametrize("exponent", [-0.5, 0.5, 1.0])
def test_mean_amount_over_the_training_images_is_the_option(exponent):
    loss = make(amount=exponent)
    assert (loss.amount * torch.tensor(COUNTS)).sum() / 42 == pytest.approx(0.1)


def test_frequent_classes_are_smoothed_more_and_rare_ones_get_more():
    loss = make()
    assert loss.amount[1] < loss.amount[0] < loss.amount[2]
    assert loss.spread[1] > loss.spread[0] > loss.spread[2]


def test_one_hot_distributions_equal_indices():
    logits, target = torch.randn(8, 3), torch.randint(3, (8,))
    torch.testing.assert_close(make()(logits, F.one_hot(target, 3).float()), make()(logits, target))


def test_smoothed_targets_are_distributions():
    soft = torch.rand(8, 3)
    soft /= soft.sum(dim=1, keepdim=True)
    for target in (torch.randint(3, (8,)), soft):
        smoothed = make().smooth(target)
        assert (smoothed >= 0).all()
        torch.testing.assert_close(smoothed.sum(dim=1), torch.ones(8))


def test_no_smoothing_leaves_the_targets():
    logits, target = torch.randn(8, 3), torch.randint(3, (8,))
    torch.testing.assert_close(make(smoothing=0.0)(logits, target), F.cross_entropy(logits, target))


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5])
def test_class_without_images_takes_no_part(exponent):
    loss = make([16, 0, 25], amount=exponent, target=exponent)
    full = make([16, 25], amount=exponent, target=exponent)
    assert loss.amount[[0, 2]].tolist() == full.amount.tolist() and loss.amount[1] == 0
    assert loss.spread[[0, 2]].tolist() == full.spread.tolist() and loss.spread[1] == 0
    assert torch.isfinite(loss(torch.zeros(2, 3), torch.tensor([0, 1])))


def test_one_class():
    assert float(make([5])(torch.randn(4, 1), torch.zeros(4, dtype=torch.long))) == 0


def test_half_precision_logits_give_a_full_precision_loss():
    with torch.autocast("cpu", torch.bfloat16):
        assert make()(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0, 2])).dtype == torch.float32


def test_is_no_part_of_a_checkpoint():
    assert make().state_dict() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": 1.0}, "loss.label_smoothing must be at least 0 and below 1; got 1.0"),
        ({"smoothing": -0.1}, "loss.label_smoothing must be at least 0 and below 1; got -0.1"),
        ({"amount": 2.0}, "loss.amount_exponent must be between -1 and 1; got 2.0"),
        ({"target": math.nan}, "loss.target_exponent must be between -1 and 1; got nan"),
        (
            {"smoothing": 0.9, "amount": 1.0},
            "loss.label_smoothing=0.9 with loss.amount_exponent=1.0 must replace less than 1",
        ),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_indices_become_certain_distributions_and_distributions_stay():
    expected = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert torch.equal(as_distributions(torch.tensor([2, 0]), 3), expected)
    votes = torch.tensor([[0.25, 0.75, 0.0]], dtype=torch.float64)
    assert torch.equal(as_distributions(votes, 3), votes.float())
