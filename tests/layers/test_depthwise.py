import copy

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn

from fer_lightning.layers.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, speed_up_depthwise


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(8, 8, 5, 1, 2, groups=8), nn.Conv2d(8, 16, 3, 2, 1, groups=8), Conv2dSame(8, 8, 3, 2, groups=8)],
    ids=["wide", "doubling", "same"],
)
def test_under_bf16_it_is_the_float32_convolution_in_the_dtype_of_its_input(conv):
    torch.manual_seed(0)
    network = nn.Sequential(copy.deepcopy(conv))
    speed_up_depthwise(network)
    features = torch.randn(2, 8, 7, 7).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(features)
        output.float().square().sum().backward()

    assert type(network[0]) in (DepthwiseConv2d, DepthwiseConv2dSame)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, conv(features.float()).bfloat16())
    assert network[0].weight.grad.dtype == torch.float32


def test_names_values_and_other_convolutions_stay():
    network = timm.create_model("tf_efficientnet_lite0").eval()
    changed = copy.deepcopy(network)
    speed_up_depthwise(changed)
    image = torch.randn(1, 3, 32, 32)

    assert changed.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(changed(image), network(image))
    for before, after in zip(network.modules(), changed.modules(), strict=True):
        depthwise = isinstance(before, nn.Conv2d) and before.groups == before.in_channels > 1
        assert (type(before) is not type(after)) == depthwise


def test_a_copy_uses_its_own_weights():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False))
    speed_up_depthwise(network)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        copied[0].weight.zero_()

    assert not copied(torch.ones(1, 4, 3, 3)).any()
    assert network(torch.ones(1, 4, 3, 3)).any()
