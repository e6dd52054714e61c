import pytest
import torch
import torch.nn.functional as F

from fer_lightning.errors import UserError
from fer_lightning.layers.conv import ConvReLU


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
    with pytest.raises(UserError, match=r"model\.normalization is 'group'"):
        ConvReLU(3, 8, normalization="group")
