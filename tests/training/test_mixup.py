from __future__ import annotations

import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.training.mixup import Mixing


def constant_images(count: int, side: int = 12) -> torch.Tensor:
    """Images `(B, 1, side, side)` whose every pixel is the row number."""
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, side, side).clone()


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0)], ids=["mixup", "cutmix"])
@pytest.mark.parametrize("seed", range(5))
def test_targets_follow_the_pixels(alphas, seed):
    """With constant images the mean of an image tells which share of which other image it holds."""
    torch.manual_seed(seed)
    image, target = constant_images(6), torch.arange(6)
    mixed, soft = Mixing(*alphas, probability=1.0, num_classes=6)(image, target)
    assert soft.sum(dim=1).tolist() == pytest.approx([1.0] * 6)
    held = soft @ torch.arange(6, dtype=torch.float32)
    assert mixed.mean(dim=(1, 2, 3)).tolist() == pytest.approx(held.tolist(), abs=1e-5)


def test_mixup_blends_every_pixel_and_cutmix_none():
    torch.manual_seed(3)
    image, target = constant_images(6), torch.arange(6)
    blended, _ = Mixing(1.0, 0.0, 1.0, 6)(image, target)
    assert all(len(row.unique()) == 1 for row in blended)
    pasted, soft = Mixing(0.0, 1.0, 1.0, 6)(image, target)
    assert set(pasted.unique().tolist()) <= set(range(6))
    for row in range(6):  # the share of the target is the area, exactly, also where the box is cut off at the border
        for label in range(6):
            assert (pasted[row] == label).float().mean() == pytest.approx(float(soft[row, label]), abs=1e-6)


def test_mixup_by_hand(monkeypatch):
    image, target = torch.tensor([0.0, 10.0, 20.0]).view(3, 1, 1, 1), torch.tensor([0, 1, 1])
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda *_: torch.tensor(0.75))
    mixed, soft = Mixing(1.0, 0.0, 1.0, 2)(image, target)
    assert mixed.flatten().tolist() == [0.75 * 0 + 0.25 * 20, 0.75 * 10 + 0.25 * 0, 0.75 * 20 + 0.25 * 10]
    assert soft.tolist() == [[0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]


def test_label_distributions_are_mixed_too():
    torch.manual_seed(0)
    target = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    _, soft = Mixing(1.0, 0.0, 1.0, 2)(constant_images(2), target)
    assert soft.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert 0.1 <= float(soft[:, 0].min()) and float(soft[:, 0].max()) <= 0.5


def test_off_or_improbable_leaves_the_batch_alone():
    image, target = constant_images(4), torch.arange(4)
    for mixing in (Mixing(0.0, 0.0, 1.0, 4), Mixing(1.0, 1.0, 0.0, 4)):
        mixed, same = mixing(image, target)
        assert mixed is image and same is target


def test_probability_is_the_share_of_mixed_batches():
    torch.manual_seed(0)
    mixing, image, target = Mixing(1.0, 1.0, 0.3, 4), constant_images(4, side=2), torch.arange(4)
    share = sum(mixing(image, target)[1].ndim == 2 for _ in range(1000)) / 1000
    assert share == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((-0.1, 0.0, 1.0), "mixing.mixup_alpha must be a positive number, or 0 to disable it; got -0.1"),
        ((0.0, -1.0, 1.0), "mixing.cutmix_alpha must be a positive number, or 0 to disable it; got -1.0"),
        ((0.2, 0.0, 1.5), "mixing.probability must be between 0 and 1; got 1.5"),
    ],
)
def test_refuses_bad_values(arguments, told):
    with pytest.raises(UserError, match=told):
        Mixing(*arguments, num_classes=3)
