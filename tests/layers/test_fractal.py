import pytest
import torch
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.layers.fractal import TEXTURES, FractalBlock, diagonal_difference


def test_diagonal_difference_is_equation_1():
    torch.manual_seed(0)
    image = torch.randn(2, 3, 6, 7)
    expected = torch.zeros_like(image)
    for row in range(1, 6):
        for column in range(1, 7):
            expected[..., row, column] = abs(image[..., row, column] - image[..., row - 1, column - 1])

    assert torch.equal(diagonal_difference(image), expected)


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize(("channels", "stride"), [(1, 1), (3, 2)])
def test_every_texture_keeps_the_shape_contract_and_learns(texture, channels, stride):
    block = FractalBlock(channels, 8, stride=stride, normalization="none", texture=texture)
    features = block(torch.randn(2, channels, 12, 12))
    features.sum().backward()

    assert features.shape == (2, 8, 12 // stride, 12 // stride)
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.parametrize(
    ("texture", "side"), [("lbp", 1), ("gabor", 1), ("lbp_cnn", 3), ("gabor_cnn", 3), ("diagonal", 3)]
)
def test_only_the_cnn_textures_learn_a_3x3_convolution(texture, side):
    block = FractalBlock(1, 8, stride=2, normalization="batch", texture=texture)
    kernels = [module.kernel_size for module in block.modules() if isinstance(module, nn.Conv2d)]

    assert kernels == [(side, side)]


def test_fixed_descriptor_is_averaged_over_the_cells_of_the_stride():
    block = FractalBlock(1, 1, stride=2, normalization="none", texture="gabor")
    image = torch.randn(1, 1, 8, 8)
    conv = block.features[1].conv
    cells = block.descriptor(image).reshape(1, 8, 4, 2, 4, 2).mean((3, 5))
    expected = (conv.weight[0, :, 0, 0, None, None] * cells[0]).sum(0) + conv.bias[0]

    torch.testing.assert_close(block(image)[0, 0], expected.relu())


def test_unknown_texture_is_refused():
    with pytest.raises(UserError, match=r"model\.texture must be one of .*; got 'hog'"):
        FractalBlock(1, 8, stride=1, normalization="batch", texture="hog")
