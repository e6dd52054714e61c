import math

import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.models.two_stage import GlobalChannelAttention, LocalMultiPatchAttention, TwoStage

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "image_size": 48,
    "widths": (8, 16),
    "depths": (1, 1),
    "stride": 2,
    "normalization": "batch",
    "patch_size": 3,
    "patch_hidden": 8,
    "num_heads": 1,
    "head_grid": 3,
    "embed_dim": 32,
    "dropout": 0.5,
}


def make(**changes):
    torch.manual_seed(0)
    return TwoStage(**{**SMALL, **changes})


def literal_patch_attention(layer, features):
    """Patch by patch, then place by place, for one sample (C, h, w)."""
    _, height, width = features.shape
    size = layer.patch_size
    first, _, second = layer.judge
    weight = {}
    for top in range(height - size + 1):
        for left in range(width - size + 1):
            average = features[:, top : top + size, left : left + size].mean((1, 2))
            score = second.weight[0] @ (first.weight @ average + first.bias).clamp(min=0) + second.bias[0]
            weight[top, left] = 1 / (1 + (-score).exp())
    output = torch.zeros_like(features)
    for row in range(height):
        for column in range(width):
            over = [
                value for (top, left), value in weight.items() if 0 <= row - top < size and 0 <= column - left < size
            ]
            output[:, row, column] = features[:, row, column] * sum(over) / len(over)
    return output


def literal_channel_attention(layer, features):
    """Channel by channel for one sample (C, h, w); also the weights, head by head."""
    channels = len(features)
    size = channels // layer.num_heads
    flat = features.flatten(1)
    mixed = layer.query_key_value.weight[:, :, 0, 0] @ flat + layer.query_key_value.bias[:, None]
    query, key, value = mixed[:channels], mixed[channels : 2 * channels], mixed[2 * channels :]
    attended, weights = torch.zeros_like(flat), torch.zeros(layer.num_heads, size, size)
    for head in range(layer.num_heads):
        for i in range(size):
            mine = query[head * size + i]
            scores = []
            for j in range(size):
                other = key[head * size + j]
                cosine = (mine @ other) / (math.sqrt(mine @ mine) * math.sqrt(other @ other))
                scores.append(cosine * layer.temperature[head, 0, 0])
            exponents = torch.stack(scores).exp()
            weights[head, i] = exponents / exponents.sum()
            for j in range(size):
                attended[head * size + i] += weights[head, i, j] * value[head * size + j]
    output = layer.output.weight[:, :, 0, 0] @ attended + layer.output.bias[:, None]
    return features + output.view_as(features), weights


@torch.no_grad()
@pytest.mark.parametrize("patch_size", [1, 2, 3, 5])
def test_patch_attention_is_its_equation(patch_size):
    torch.manual_seed(0)
    layer = LocalMultiPatchAttention(6, patch_size, 4)
    features = 3 * torch.randn(2, 6, 5, 7)

    assert layer.patch_weights(features).shape == (2, 6 - patch_size, 8 - patch_size)
    for sample in range(2):
        expected = literal_patch_attention(layer, features[sample])
        torch.testing.assert_close(layer(features)[sample], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("num_heads", [1, 2])
def test_channel_attention_is_its_equation(num_heads):
    torch.manual_seed(0)
    layer = GlobalChannelAttention(6, num_heads)
    layer.temperature.copy_(torch.arange(2.0, 2.0 + num_heads)[:, None, None])
    features = torch.randn(2, 6, 3, 4)

    for sample in range(2):
        expected, weights = literal_channel_attention(layer, features[sample])
        torch.testing.assert_close(layer(features)[sample], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer.weights(features)[sample], weights, atol=1e-5, rtol=1e-5)


def test_channels_that_heads_cannot_share_are_refused():
    with pytest.raises(UserError, match="must divide 16"):
        make(num_heads=3)


def test_gradcam_layer_yields_the_map_of_the_second_stage():
    net = make()
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48))

    assert seen[0].shape == (2, 16, 6, 6)


def test_stages_must_match():
    with pytest.raises(UserError, match="same length"):
        make(depths=(1, 1, 1))


def test_a_map_smaller_than_a_patch_is_refused():
    with pytest.raises(UserError, match="image_size=24 or more"):
        make(image_size=23)
