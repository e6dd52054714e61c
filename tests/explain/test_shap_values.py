from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.explain.shap_values import shap_maps


class Curved(nn.Module):
    """A net with a ReLU in place, which some explainers do not survive."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.classify = nn.Linear(4 * 144, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.relu(self.conv(image)).flatten(1))


class WithSideVector(Curved):
    def forward(self, image: Tensor, side: Tensor) -> Tensor:
        return super().forward(image) * side.sum(1, keepdim=True)


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 2, 12, 12)


@pytest.mark.slow  # numba compiles for some ten seconds
def test_values_of_parts_sum_to_the_difference_of_the_outputs(images):
    net, target = Curved().requires_grad_(False), torch.tensor([2, 0])
    with torch.inference_mode():
        found = shap_maps(net, images, target, "partition", images, 60)
        scores = net(images)[[0, 1], target].numpy()

    assert found.values.shape == (2, 12, 12)
    np.testing.assert_allclose(found.score, scores, atol=1e-5)
    np.testing.assert_allclose(found.values.sum((1, 2)), found.score - found.base, atol=1e-3)
    assert np.abs(found.score - found.base).min() > 0.01


@pytest.mark.slow
def test_a_second_picture_is_not_hidden_behind_the_blur_of_the_first(images):
    net, target = Curved(), torch.tensor([1, 1])
    both = shap_maps(net, images, target, "partition", images, 40)
    alone = shap_maps(net, images[1:], target[1:], "partition", images, 40)
    np.testing.assert_allclose(both.values[1], alone.values[0], atol=1e-6)
    np.testing.assert_allclose(both.base[1], alone.base[0], atol=1e-6)


def test_gradients_of_a_linear_net_are_weights_times_differences(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(288, 3))
    background = torch.randn(1, 2, 12, 12)
    found = shap_maps(net, images, torch.tensor([1, 2]), "gradient", background, 8)

    for row, target in enumerate((1, 2)):
        weight = net[1].weight[target].view(2, 12, 12)
        expected = (weight * (images[row] - background[0])).sum(0).detach().numpy()
        np.testing.assert_allclose(found.values[row], expected, atol=1e-5)
    np.testing.assert_allclose(found.values.sum((1, 2)), found.score - found.base, atol=1e-4)


def test_gradients_of_a_curved_net_sum_to_the_difference_up_to_sampling(images):
    torch.manual_seed(3)
    net = Curved()
    background = torch.zeros(1, 2, 12, 12)
    found = shap_maps(net, 3 * images, torch.tensor([0, 2]), "gradient", background, 2000)
    np.testing.assert_allclose(found.values.sum((1, 2)), found.score - found.base, atol=0.02)


@pytest.mark.parametrize("method", ["gradient", pytest.param("partition", marks=pytest.mark.slow)])
def test_side_vectors_are_given_to_the_net(images, method):
    net, side, target = WithSideVector(), torch.tensor([[2.0, 1.0], [0.0, -1.0]]), torch.tensor([0, 1])
    found = shap_maps(net, images, target, method, torch.randn(3, 2, 12, 12), 20, side)
    np.testing.assert_allclose(found.score, net(images, side)[[0, 1], target].detach().numpy(), atol=1e-5)


def test_an_unknown_method_is_refused(images):
    with pytest.raises(UserError, match="shap must be one of gradient, partition, or none; got deep"):
        shap_maps(Curved(), images, torch.tensor([0, 0]), "deep", images, 10)
