from __future__ import annotations

import copy
import functools

import cv2
import hydra
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_lightning.commands.instantiate import compose_net
from fer_lightning.explain.gradcam import gradcam, tokens_to_map
from fer_lightning.files import conf_dir
from fer_lightning.models.weighted_voting import WeightedVoting

NOT_ONE_NET = {"weighted_voting"}
SLOW = {"hafem"}
MODELS = sorted({path.stem for path in (conf_dir() / "model").glob("*.yaml")} - NOT_ONE_NET)
every_net = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]
)


class Small(nn.Module):
    """Convolution, the hooked map, a ReLU in place that must not reach what was hooked, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.classify = nn.Linear(4 * 6 * 6, 3)

    @property
    def gradcam_layer(self) -> nn.Module:
        return self.conv

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.relu(self.conv(image) * 1.5).flatten(1))


@functools.cache
def composed(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose_net("show_models", [f"+model={name}", "image_size=48", "channels=1"], 7)


def inputs_of(name: str, batch: int) -> tuple[Tensor, Tensor | None]:
    torch.manual_seed(1)
    image, *side = [torch.randn(batch, *part.shape[1:]) for part in composed(name)[1]]
    for vector in side:
        vector[:, 0] = 1
    return image, side[0] if side else None


def stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values - values.min()).max()


def literal_gradcam(net: Small, image: Tensor, target: int) -> np.ndarray:
    """Eqs 1 and 2 of Selvaraju et al. for one image, number by number."""
    features = net.conv(image)
    features.retain_grad()
    net.classify((features * 1.5).clamp_min(0).flatten(1))[0, target].backward()
    channels, rows, columns = features.shape[1:]
    heat = np.zeros((rows, columns))
    for k in range(channels):
        weight = 0.0
        for i in range(rows):
            for j in range(columns):
                weight += features.grad[0, k, i, j].item() / (rows * columns)
        for i in range(rows):
            for j in range(columns):
                heat[i, j] += weight * features[0, k, i, j].item()
    return np.maximum(heat, 0)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_it_is_equations_1_and_2(target):
    torch.manual_seed(0)
    net, image = Small(), torch.randn(1, 1, 12, 12)
    heat = literal_gradcam(net, image, target)
    assert heat.max() > 0
    enlarged = cv2.resize(stretched(heat).astype(np.float32), (12, 12), interpolation=cv2.INTER_LINEAR)

    found = gradcam(net, image, torch.tensor([target]))

    np.testing.assert_allclose(found[0], stretched(enlarged), atol=1e-4)


@every_net
def test_every_architecture_has_a_map_for_every_class(name):
    net, (image, side) = composed(name)[0], inputs_of(name, 1)
    maps = gradcam(net, image.repeat(7, 1, 1, 1), torch.arange(7), None if side is None else side.repeat(7, 1))

    assert maps.shape == (7, 48, 48) and maps.dtype == np.float32
    assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
    lively = [
        own for own in maps if own.max() > 0.9
    ]  # of an untrained net, some classes have nothing that speaks for them
    assert len(lively) >= 2 and not np.allclose(lively[0], lively[1], atol=0.05)


@pytest.mark.parametrize("name", ["psysfa_net", "vit"])
def test_frozen_nets_and_inference_mode_do_not_matter_and_nothing_is_changed(name):
    net, (image, _) = copy.deepcopy(composed(name)[0]), inputs_of(name, 2)
    target = torch.tensor([1, 2])
    expected = gradcam(net, image, target)
    net.requires_grad_(False).train()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    random = torch.get_rng_state()

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = gradcam(net, image.clone(), target)

    np.testing.assert_array_equal(found, expected)
    assert net.training and all(part.grad is None and not part.requires_grad for part in net.parameters())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks for module in net.modules())


def test_nets_that_were_made_in_inference_mode_are_explained_as_well():
    torch.manual_seed(0)
    net, image, target = nn_with_norm(), torch.randn(1, 1, 12, 12), torch.tensor([1])
    expected = gradcam(net, image, target)
    with torch.inference_mode():
        made = nn_with_norm()
        made.load_state_dict(net.state_dict())
        found = gradcam(made, image, target)

    np.testing.assert_array_equal(found, expected)


def nn_with_norm() -> Small:
    """With buffers, which a copy of a module does not clone as it clones parameters."""
    net = Small()
    net.relu = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
    return net.eval()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_explained_in_float32(dtype):
    torch.manual_seed(0)
    net, image = Small(), torch.randn(1, 1, 12, 12)
    halved = copy.deepcopy(net).to(dtype)
    rounded = copy.deepcopy(halved).float()

    found = gradcam(halved, image.to(dtype), torch.tensor([1]))

    assert next(halved.parameters()).dtype == dtype
    np.testing.assert_allclose(found, gradcam(rounded, image.to(dtype).float(), torch.tensor([1])), atol=1e-6)


def test_tokens_become_a_map_row_by_row_without_their_prefix():
    tokens = torch.arange(2 * 8 * 3).reshape(2, 8, 3)
    found = tokens_to_map(tokens, 2, 2, 3)

    assert found.shape == (2, 3, 2, 3)
    for row in range(2):
        for column in range(3):
            assert torch.equal(found[1, :, row, column], tokens[1, 2 + 3 * row + column])


@pytest.mark.parametrize("mirror", [False, True])
def test_a_vote_shows_the_weighted_mean_of_its_members(mirror):
    torch.manual_seed(0)
    first, second, image, target = Small(), Small(), torch.randn(2, 1, 12, 12), torch.tensor([1, 2])
    net = WeightedVoting(num_classes=3, members=[first, second], tta="mirror" if mirror else "none")
    net.weights.copy_(torch.tensor([0.75, 0.25]))

    def of_member(member: Small) -> np.ndarray:
        own = gradcam(member, image, target)
        return (own + gradcam(member, image.flip(3), target)[:, :, ::-1]) / 2 if mirror else own

    expected = 0.75 * of_member(first) + 0.25 * of_member(second)
    np.testing.assert_allclose(gradcam(net, image, target), expected, atol=1e-6)


def test_a_net_that_warps_the_image_is_explained_in_the_image():
    net = copy.deepcopy(composed("attention_cnn")[0])
    image, _ = inputs_of("attention_cnn", 1)
    with torch.no_grad():  # the warped image shows the left upper quarter, twice as large
        net.attend.regress.bias.copy_(torch.tensor([0.5, 0, -0.5, 0, 0.5, -0.5]))
    bright = torch.zeros(1, 48, 48)
    bright[:, 24:, :24] = 1

    found = net.eval().gradcam_in_image(bright, image)[0].detach()

    assert found[13:23, 1:11].min() == 1
    assert found[:11].max() == 0 and found[25:].max() == 0 and found[:, 25:].max() == 0
