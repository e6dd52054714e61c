from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fer_lightning.errors import UserError
from fer_lightning.layers.cnn_block import CNNBlock, ConvReLU, PsychologicalAttention


def test_stages_are_convolutions_with_relu_then_max_pooling():
    torch.manual_seed(0)
    block = CNNBlock(3, (4, 8), (1, 2), stride=1, normalization="none")
    image = torch.randn(2, 3, 12, 12)
    expected = image
    for layer, last in zip(block.layers, (True, False, True), strict=True):
        expected = F.relu(F.conv2d(expected, layer.conv.weight, layer.conv.bias, padding=1))  # eq. 7
        expected = F.max_pool2d(expected, 2) if last else expected

    torch.testing.assert_close(block(image), expected)


def test_stride_is_that_of_the_first_convolution():
    block = CNNBlock(3, (4, 8), (2, 1), stride=2, normalization="batch")

    assert [layer.conv.stride for layer in block.layers] == [(2, 2), (1, 1), (1, 1)]
    assert block(torch.randn(2, 3, 16, 16)).shape == (2, 8, 2, 2)


def test_last_map_is_the_map_before_pooling_and_relu():
    for normalization in ("batch", "none"):
        block = CNNBlock(3, (4, 8), (1, 1), stride=1, normalization=normalization).eval()
        seen = []
        block.last_map.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output.clone()))
        features = block(torch.randn(1, 3, 16, 16))

        assert seen[0].shape == (1, 8, 8, 8)
        assert torch.equal(features, F.relu(F.max_pool2d(seen[0], 2)))


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_pooling_before_relu_equals_pooling_after_it(normalization):
    torch.manual_seed(0)
    layer = ConvReLU(3, 8, normalization=normalization, pool=True).eval()
    image = torch.randn(2, 3, 10, 10)
    features = layer.norm(layer.conv(image)) if normalization == "batch" else layer.conv(image)

    assert torch.equal(layer(image), F.max_pool2d(F.relu(features), 2))


def test_normalization_none_leaves_the_convolution_with_a_bias_and_nothing_else():
    names = [name for name, _ in ConvReLU(3, 8, normalization="none").named_parameters()]

    assert names == ["conv.weight", "conv.bias"]


def test_unknown_normalization_is_refused():
    with pytest.raises(UserError, match=r"model\.normalization must be one of batch, none; got 'group'"):
        ConvReLU(3, 8, normalization="group")


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9, 11])
def test_psychological_attention_is_equation_3(kernel_size):
    torch.manual_seed(0)
    block = PsychologicalAttention(1, 2, kernel_size=kernel_size, stride=1, normalization="none")
    weight, bias = block.conv.weight, block.conv.bias
    image = torch.randn(9, 8)
    reach = kernel_size // 2
    expected = torch.zeros(2, 9, 8)
    for x in range(9):
        for y in range(8):
            total = bias.clone()
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if 0 <= x + i < 9 and 0 <= y + j < 8:
                        total = total + weight[:, 0, i + reach, j + reach] * image[x + i, y + j]
            expected[:, x, y] = total.clamp(min=0)

    torch.testing.assert_close(block(image[None, None])[0], expected, atol=1e-5, rtol=1e-5)


def test_psychological_attention_refuses_an_even_kernel():
    with pytest.raises(UserError, match=r"model\.attention_kernel must be odd.*got 4"):
        PsychologicalAttention(1, 8, kernel_size=4, stride=1, normalization="none")
