import math

import pytest
import torch
from timm.layers.cbam import CbamModule

from fer_lightning.errors import UserError
from fer_lightning.layers.cbam import CBAM


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def literal(layer, features):
    """Equations 1 to 3 for one map (C, H, W), number by number."""
    channels, height, width = features.shape
    first, second = layer.channel.mlp[0].weight.tolist(), layer.channel.mlp[2].weight.tolist()

    def mlp(vector):
        hidden = [max(0.0, sum(w * v for w, v in zip(row, vector, strict=True))) for row in first]
        return [sum(w * v for w, v in zip(row, hidden, strict=True)) for row in second]

    cells = [features[c].flatten().tolist() for c in range(channels)]
    average, maximum = mlp([sum(cell) / len(cell) for cell in cells]), mlp([max(cell) for cell in cells])
    weighted = torch.stack([features[c] * sigmoid(average[c] + maximum[c]) for c in range(channels)])

    kernel = layer.spatial.conv.weight[0]
    reach = kernel.shape[-1] // 2
    output = torch.zeros_like(weighted)
    for y in range(height):
        for x in range(width):
            total = 0.0
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    tap = kernel[:, v - y + reach, u - x + reach]
                    total += float(tap[0] * weighted[:, v, u].mean() + tap[1] * weighted[:, v, u].max())
            output[:, y, x] = weighted[:, y, x] * sigmoid(total)
    return output


@pytest.mark.parametrize(("size", "kernel_size"), [((9, 8), 7), ((1, 1), 7), ((4, 5), 3)])
@torch.no_grad()
def test_it_is_equations_1_to_3(size, kernel_size):
    torch.manual_seed(0)
    layer = CBAM(8, reduction=4, kernel_size=kernel_size)
    for parameter in layer.parameters():
        parameter.normal_(std=0.5)
    features = torch.randn(2, 8, *size)
    output = layer(features)

    for sample in range(2):
        torch.testing.assert_close(output[sample], literal(layer, features[sample]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_it_is_timms_without_its_batch_normalisation():
    torch.manual_seed(0)
    layer, reference = CBAM(64), CbamModule(64).eval()
    layer.channel.mlp[0].weight.copy_(reference.channel.fc1.weight[..., 0, 0])
    layer.channel.mlp[2].weight.copy_(reference.channel.fc2.weight[..., 0, 0])
    layer.spatial.conv.weight.copy_(reference.spatial.conv.conv.weight)
    reference.spatial.conv.bn = torch.nn.Identity()
    features = torch.randn(2, 64, 12, 12)

    torch.testing.assert_close(layer(features), reference(features), atol=1e-5, rtol=1e-5)


def test_gradients_pass_under_bf16_for_a_map_of_one_cell():
    layer = CBAM(32)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(torch.randn(2, 32, 1, 1))
        output.square().sum().backward()

    assert output.shape == (2, 32, 1, 1)
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def test_a_convolution_without_a_centre_is_refused():
    with pytest.raises(UserError, match="must be odd"):
        CBAM(8, kernel_size=6)
