import math

import pytest
import torch
import torch.nn.functional as F

from fer_lightning.errors import UserError
from fer_lightning.models.attention_cnn import AttentionCNN, SpatialTransformer

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "image_size": 48,
    "localization_widths": (4, 4),
    "localization_hidden": 8,
    "widths": (8, 16),
    "normalization": "batch",
    "head_grid": 3,
    "embed_dim": 32,
    "dropout": 0.5,
}


def make(**changes):
    torch.manual_seed(0)
    return AttentionCNN(**{**SMALL, **changes})


def transformer(theta=None):
    """A spatial transformer that warps every image by `theta`."""
    torch.manual_seed(0)
    layer = SpatialTransformer(1, (4, 4), hidden=8, grid=3, normalization="none")
    if theta is not None:
        layer.regress.bias.data = torch.tensor(theta).flatten()
    return layer


def literal_warp(image, theta):
    """Equations 1 and 5 of Jaderberg et al., pixel by pixel, with the border repeated; image (H, W)."""
    height, width = image.shape
    output = torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            x, y = (2 * j + 1) / width - 1, (2 * i + 1) / height - 1
            source_x = ((theta[0][0] * x + theta[0][1] * y + theta[0][2]) + 1) * width / 2 - 0.5
            source_y = ((theta[1][0] * x + theta[1][1] * y + theta[1][2]) + 1) * height / 2 - 0.5
            source_x, source_y = min(max(source_x, 0), width - 1), min(max(source_y, 0), height - 1)
            for n in (math.floor(source_y), math.floor(source_y) + 1):
                for m in (math.floor(source_x), math.floor(source_x) + 1):
                    weight = max(0, 1 - abs(source_x - m)) * max(0, 1 - abs(source_y - n))
                    if weight:
                        output[i, j] += weight * image[n, m]
    return output


def test_warp_starts_as_the_identity():
    image = torch.randn(2, 1, 24, 24)
    layer = transformer()

    assert torch.equal(layer.theta(image), torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(2, 2, 3))
    torch.testing.assert_close(layer(image), image, atol=1e-5, rtol=1e-5)


def test_warp_starts_as_the_identity_under_bf16():
    image = torch.randn(2, 1, 48, 48)
    with torch.autocast("cpu", torch.bfloat16):
        warped = transformer()(image)

    assert warped.dtype == torch.float32
    torch.testing.assert_close(warped, image, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("theta", "expected"),
    [
        ([[-1.0, 0, 0], [0, 1, 0]], lambda image: image.flip(3)),
        ([[1.0, 0, 0], [0, -1, 0]], lambda image: image.flip(2)),
        ([[0.0, -1, 0], [1, 0, 0]], lambda image: image.rot90(-1, (2, 3)).flip((2, 3))),
    ],
    ids=["left-right", "up-down", "quarter turn"],
)
def test_known_warps(theta, expected):
    image = torch.randn(2, 1, 12, 12)
    torch.testing.assert_close(transformer(theta)(image), expected(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("theta", [[[0.7, 0.2, 0.1], [-0.3, 0.8, -0.2]], [[1.4, 0.0, 0.3], [0.1, 1.2, 0.0]]])
def test_warp_is_bilinear_sampling_at_theta(theta):
    image = torch.randn(1, 1, 8, 10)
    warped = transformer(theta)(image)

    torch.testing.assert_close(warped[0, 0], literal_warp(image[0, 0], theta), atol=1e-5, rtol=1e-5)


def test_localisation_learns():
    net = make()
    image, target = torch.randn(8, 1, 48, 48), torch.arange(8) % 7
    before = net.attend.theta(image)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(net(image), target).backward()
        optimizer.step()
    after = net.attend.theta(image)

    assert net.attend.localize[0].conv.weight.grad.abs().sum() > 0
    assert not torch.equal(before, after)
    assert not torch.equal(after[0], after[1])


def test_gradcam_layer_yields_a_map():
    net = make()
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48))

    assert seen[0].shape == (2, 16, 24, 24)


@pytest.mark.parametrize("option", ["widths", "localization_widths"])
def test_stages_other_than_two_are_refused(option):
    with pytest.raises(UserError, match=f"model.{option} must be the channels of two stages; got 3"):
        make(**{option: (8, 8, 8)})


def test_an_image_too_small_is_refused():
    with pytest.raises(UserError, match="must be at least 8"):
        make(image_size=7)
