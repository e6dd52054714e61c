from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import distributed

from fer_lightning.losses.center import CenterLoss, IntraClassVariation

FEATURES = torch.tensor([[2.0, 0.0], [4.0, 2.0], [0.0, -3.0]])
TARGET = torch.tensor([0, 0, 2])
VARIED = torch.tensor([[0.0, 0.0], [2.0, 4.0], [9.0, 9.0], [1.0, 0.0], [1.0, 3.0], [1.0, 6.0]])
VARIED_TARGET = torch.tensor([0, 0, 1, 2, 2, 2])


def batches(count: int = 5, size: int = 8, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 6, generator=generator), torch.randint(4, (size,), generator=generator))
        for _ in range(count)
    ]


def test_by_hand():
    loss = CenterLoss(3, 2, alpha=0.5)
    assert float(loss(FEATURES, TARGET)) == pytest.approx((4 + 20 + 9) / 6)  # centres at zero
    # Class 0: delta = -(6, 2) / (1 + 2); class 1: no image; class 2: delta = -(0, -3) / (1 + 1)
    assert loss.centers.flatten().tolist() == pytest.approx([1, 1 / 3, 0, 0, 0, -0.75])
    squares = [1 + 1 / 9, 9 + 25 / 9, 2.25**2]
    assert float(loss(FEATURES, TARGET)) == pytest.approx(sum(squares) / 6)


def test_equals_the_equations_image_by_image():
    loss = CenterLoss(4, 6, alpha=0.3)
    centers = [[0.0] * 6 for _ in range(4)]
    for features, target in batches():
        rows, labels = features.tolist(), target.tolist()
        expected = sum((x - c) ** 2 for row, k in zip(rows, labels) for x, c in zip(row, centers[k])) / 16
        assert float(loss(features, target)) == pytest.approx(expected, rel=1e-5)
        for k in range(4):
            of_class = [row for row, label in zip(rows, labels) if label == k]
            step = [sum(centers[k][d] - row[d] for row in of_class) / (1 + len(of_class)) for d in range(6)]
            centers[k] = [c - 0.3 * s for c, s in zip(centers[k], step)]
    torch.testing.assert_close(loss.centers, torch.tensor(centers))


def test_distributions_weigh_distances_and_sums():
    loss = CenterLoss(2, 1, alpha=1.0)
    loss.centers.copy_(torch.tensor([[1.0], [-1.0]]))
    target = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    # distances 1 and 9 of the first image, 1 and 1 of the second
    assert float(loss(torch.tensor([[2.0], [0.0]]), target)) == pytest.approx((0.75 + 2.25 + 0.5 + 0.5) / 4)
    # c_0: 1 - (0.75 * -1 + 0.5 * 1) / 2.25; c_1: -1 - (0.25 * -3 + 0.5 * -1) / 1.75
    assert loss.centers.flatten().tolist() == pytest.approx([1 + 0.25 / 2.25, -1 + 1.25 / 1.75])


def test_one_hot_distributions_equal_indices():
    hard, soft = CenterLoss(4, 6, alpha=0.5), CenterLoss(4, 6, alpha=0.5)
    for features, target in batches():
        torch.testing.assert_close(soft(features, F.one_hot(target, 4).double()), hard(features, target))
    torch.testing.assert_close(soft.centers, hard.centers)


def test_gradient_draws_features_to_the_centres_of_before_the_step():
    loss = CenterLoss(3, 2, alpha=0.5)
    loss(FEATURES, TARGET)
    centers = loss.centers.clone()
    features = FEATURES.clone().requires_grad_()
    loss(features, TARGET).backward()
    torch.testing.assert_close(features.grad, (FEATURES - centers[TARGET]) / 3)
    assert list(loss.parameters()) == [] and not loss.centers.requires_grad
    assert not torch.equal(loss.centers, centers)


def test_centres_approach_the_class_means():
    loss = CenterLoss(4, 6, alpha=0.5)
    features, target = batches(1, 400)[0]
    for _ in range(40):
        loss(features, target)
    means = torch.stack([features[target == k].mean(dim=0) for k in range(4)])
    torch.testing.assert_close(loss.centers, means)


def test_centres_rest_in_eval_mode():
    loss = CenterLoss(3, 2, alpha=0.5).eval()
    loss(FEATURES, TARGET)
    assert not loss.centers.any()


def test_autocast_changes_nothing_beyond_the_features_own_rounding():
    loss, exact = CenterLoss(4, 6, alpha=0.5), CenterLoss(4, 6, alpha=0.5)
    for features, target in batches():
        rounded = features.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(rounded, target)
        assert value.dtype == loss.centers.dtype == torch.float32
        torch.testing.assert_close(value, exact(rounded.float(), target))
    torch.testing.assert_close(loss.centers, exact.centers)


def test_state_dict_carries_the_centres():
    loss, other = CenterLoss(3, 2, alpha=0.5), CenterLoss(3, 2, alpha=0.5)
    loss(FEATURES, TARGET)
    other.load_state_dict(loss.state_dict())
    assert loss.state_dict().keys() == {"centers"}
    assert torch.equal(other(FEATURES, TARGET), loss(FEATURES, TARGET))


def one_of_two_processes(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    loss = CenterLoss(4, 6, alpha=0.5)
    part = slice(0, 5) if rank == 0 else slice(5, 8)
    values = [loss(features[part], target[part]) for features, target in torch.load(folder / "batches.pt")]
    torch.save((torch.stack(values), loss.centers), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_share_the_centres_of_one_with_all_images(tmp_path: Path):
    """The first sees five images of each batch, the second three, and often not the same classes."""
    given = batches(6, 8, seed=1)
    torch.save(given, tmp_path / "batches.pt")
    both = [get_context("fork").Process(target=one_of_two_processes, args=(rank, tmp_path)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(timeout=120)
        process.kill()
    (first, centers), (second, other) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    alone = CenterLoss(4, 6, alpha=0.5)
    values = torch.stack([alone(features, target) for features, target in given])
    assert torch.equal(centers, other)
    torch.testing.assert_close(centers, alone.centers)
    torch.testing.assert_close((5 * first + 3 * second) / 8, values)


@pytest.mark.parametrize("alpha", [0.0, 1.1, float("nan")])
def test_refuses_bad_options(alpha):
    with pytest.raises(ValueError, match=f"loss.center_alpha must be above 0 and at most 1; got {alpha}"):
        CenterLoss(3, 2, alpha=alpha)


def test_variation_by_hand():
    # Class 0: mean (1, 2), variance 5; class 2: mean (1, 3), variance (9 + 0 + 9) / 3; others: at most one image.
    assert float(IntraClassVariation(4)(VARIED, VARIED_TARGET)) == pytest.approx((5 + 6) / 2)


def test_equals_torch_variance():
    features, target = torch.randn(60, 5), torch.arange(60) % 3
    variances = [features[target == k].var(dim=0, unbiased=False).sum() for k in range(3)]
    torch.testing.assert_close(IntraClassVariation(3)(features, target), torch.stack(variances).mean())


def test_distributions_weigh_images():
    """Means 0.5 and 1.5; variances 0.75 for both classes, whose shares are 2 of 4 images each."""
    features = torch.tensor([[0.0], [0.0], [2.0], [2.0]])
    target = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    assert float(IntraClassVariation(2)(features, target)) == pytest.approx(0.75)


def test_variation_of_one_hot_distributions_equals_that_of_indices():
    loss = IntraClassVariation(4)
    assert torch.equal(loss(VARIED, F.one_hot(VARIED_TARGET, 4).double()), loss(VARIED, VARIED_TARGET))


def test_gradient_moves_no_class_as_a_whole():
    features = VARIED.clone().requires_grad_()
    IntraClassVariation(4)(features, VARIED_TARGET).backward()
    for k in range(3):
        torch.testing.assert_close(features.grad[VARIED_TARGET == k].sum(dim=0), torch.zeros(2))
    assert features.grad[VARIED_TARGET == 0].tolist() == [
        [-0.5, -1.0],
        [0.5, 1.0],
    ]  # 2 / (2 classes * 2 images) * (x - mean)


def test_gradient_equals_finite_differences():
    loss = IntraClassVariation(4)
    features = VARIED.clone().requires_grad_()
    loss(features, VARIED_TARGET).backward()
    for row, column in ((0, 0), (2, 1), (4, 1), (5, 0)):
        step = torch.zeros_like(VARIED)
        step[row, column] = 0.25  # the loss is quadratic, so the difference is exact
        difference = (loss(VARIED + step, VARIED_TARGET) - loss(VARIED - step, VARIED_TARGET)) / 0.5
        assert float(features.grad[row, column]) == pytest.approx(float(difference), abs=1e-5)


def test_no_class_seen_twice():
    features = VARIED[[0, 2]].clone().requires_grad_()
    loss = IntraClassVariation(4)(features, VARIED_TARGET[[0, 2]])
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()


def test_autocast_computes_in_full_precision():
    features = (VARIED + 100).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = IntraClassVariation(4)(features, VARIED_TARGET)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, IntraClassVariation(4)(features.float(), VARIED_TARGET))


def test_has_no_state():
    assert IntraClassVariation(4).state_dict() == {}
