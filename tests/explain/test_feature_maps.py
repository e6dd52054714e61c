from __future__ import annotations

import hydra
import numpy as np
import pytest
import torch
from torch import nn

from fer_lightning.commands.instantiate import compose_net
from fer_lightning.explain.attention import attention_maps, fusion_shares
from fer_lightning.explain.feature_maps import feature_maps
from fer_lightning.files import conf_dir


def composed(*overrides: str) -> nn.Module:
    torch.manual_seed(0)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose_net("show_models", overrides, 7)[0].eval()


@pytest.fixture(scope="module")
def psysfa() -> nn.Module:
    return composed("+model=psysfa_net")


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 1, 48, 48)


def test_psysfa_net_shows_the_stages_of_figure_4(psysfa, image):
    found = feature_maps(psysfa, image)
    stages = ["fractal", "spectral", "attention", "fused", "before suppression", "after suppression"]
    assert list(found) == stages
    with torch.no_grad():
        sources = psysfa.source_maps(image)
        before = psysfa.cnn(psysfa.fused(image))
        expected = [*sources, psysfa.fusion(sources), before, psysfa.suppression(before)]
    for name, features in zip(stages, expected):
        np.testing.assert_allclose(found[name], features.abs().sum(1) / features.shape[1], rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks for module in psysfa.modules())


def test_stages_that_are_switched_off_are_left_out(image):
    net = composed("+model=psysfa_net", "model.spectral=false", "model.fusion=concat")
    assert list(feature_maps(net, image)) == ["fractal", "attention", "before suppression", "after suppression"]
    assert attention_maps(net, image) == {}


def test_of_any_net_the_last_map_of_each_size_is_shown(image):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True))
            self.second = nn.Conv2d(3, 5, 3, padding=1, stride=2)
            self.third = nn.Conv2d(5, 5, 1)
            self.head = nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.head(self.third(self.second(self.first(image))))

    net = Net()
    found = feature_maps(net, image)
    assert {name: maps.shape for name, maps in found.items()} == {"first": (2, 48, 48), "head.0": (2, 24, 24)}
    np.testing.assert_allclose(found["first"], net.first(image).detach().mean(1), rtol=1e-5)


def test_blocks_of_a_vision_transformer_are_grids_of_patches(image):
    net = composed("+model=vit")
    found = feature_maps(net, image)
    assert list(found)[:2] == ["patches", "block 1"]
    with torch.no_grad():
        expected = net.blocks[0](net.tokens(image))[:, 1:].abs().mean(2).view(2, net.grid, net.grid)
    np.testing.assert_allclose(found["block 1"], expected, rtol=1e-4)


def test_cells_of_the_fusion_share_all_attention(psysfa, image):
    found = attention_maps(psysfa, image)
    assert list(found) == ["fractal cells", "spectral cells", "attention cells"]
    np.testing.assert_allclose(sum(maps.sum((1, 2)) for maps in found.values()), 1, rtol=1e-5)
    weights = psysfa.fusion_attention(image).detach().mean(1).numpy()
    grid = psysfa.fusion.grid
    heard = [
        np.mean([weights[1, listener, grid**2 + cell] for listener in range(3 * grid**2)]) for cell in range(grid**2)
    ]
    np.testing.assert_allclose(found["spectral cells"][1].ravel(), heard, rtol=1e-4)


def test_shares_of_sources_are_sums_over_their_cells(psysfa, image):
    found = fusion_shares(psysfa, image)
    weights = psysfa.fusion_attention(image).detach().mean(1).numpy()
    cells = psysfa.fusion.grid**2
    literal = np.mean([weights[0, cells + row, 2 * cells :].sum() for row in range(cells)])
    assert found.shape == (2, 3, 3)
    assert found[0, 1, 2] == pytest.approx(literal, rel=1e-4)
    np.testing.assert_allclose(found.sum(2), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dan", ["head 1", "head 2", "head 3", "head 4"]),
        ("hafem_lite", ["CBAM", "cells, last block"]),
        ("vit", ["class token, last block"]),
        ("attention_transformer", ["class token, last block"]),
        ("two_stage", ["places"]),
        ("resnet", []),
    ],
)
def test_attention_of_other_nets(name, expected, image):
    found = attention_maps(composed(f"+model={name}"), image)
    assert list(found) == expected
    for maps in found.values():
        assert maps.shape[0] == 2 and maps.shape[1] == maps.shape[2] >= 3
        assert np.isfinite(maps).all() and maps.min() >= 0
