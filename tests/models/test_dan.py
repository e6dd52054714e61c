import pytest
import torch

from fer_lightning.models.dan import DAN, ChannelUnit, SpatialUnit

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "widths": (8, 8, 16, 16),
    "depths": (1, 1, 1, 1),
    "stem_stride": 1,
    "num_heads": 3,
    "channel_hidden": 4,
    "dropout": 0.5,
}


def make(**changes):
    torch.manual_seed(0)
    return DAN(**{**SMALL, **changes})


def padded_correlation(features, conv):
    """Convolution of one sample (C, h, w) with zero padding, place by place."""
    _, height, width = features.shape
    rows, columns = conv.kernel_size
    padded = torch.zeros(len(features), height + rows - 1, width + columns - 1)
    padded[:, rows // 2 : rows // 2 + height, columns // 2 : columns // 2 + width] = features
    output = torch.zeros(conv.out_channels, height, width)
    for row in range(height):
        for column in range(width):
            window = padded[:, row : row + rows, column : column + columns]
            output[:, row, column] = (conv.weight * window).sum((1, 2, 3)) + conv.bias
    return output


def normalised(features, norm):
    """Batch normalisation of one sample (C, ...) in evaluation."""
    shape = (-1, *[1] * (features.dim() - 1))
    scaled = (features - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
    return scaled * norm.weight.view(shape) + norm.bias.view(shape)


def settle(module):
    """Random statistics in every batch normalisation, then evaluation."""
    for part in module.modules():
        if hasattr(part, "running_mean"):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    return module.eval()


@torch.no_grad()
def test_spatial_unit_is_its_equation():
    torch.manual_seed(0)
    unit = settle(SpatialUnit(4))
    features = torch.randn(2, 4, 3, 5)
    kernels = [branch[0].kernel_size for branch in (unit.square, unit.row, unit.column)]
    assert kernels == [(3, 3), (1, 3), (3, 1)]

    for sample in range(2):
        reduced = normalised(padded_correlation(features[sample], unit.reduce[0]), unit.reduce[1])
        branches = [normalised(padded_correlation(reduced, conv), norm) for conv, norm in (unit.square, unit.row)]
        branches.append(normalised(padded_correlation(reduced, unit.column[0]), unit.column[1]))
        weight = sum(branches).clamp(min=0).sum(0)
        torch.testing.assert_close(unit(features)[sample], features[sample] * weight, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_channel_unit_is_its_equation():
    torch.manual_seed(0)
    unit = settle(ChannelUnit(4, 3))
    features = torch.randn(2, 4, 3, 5)
    first, norm, _, second, _ = unit.gate

    for sample in range(2):
        average = features[sample].mean((1, 2))
        hidden = normalised(first.weight @ average + first.bias, norm).clamp(min=0)
        gate = 1 / (1 + (-(second.weight @ hidden + second.bias)).exp())
        torch.testing.assert_close(unit(features)[sample], average * gate, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_fusion_is_the_sum_of_log_softmax_over_heads():
    net = settle(make())
    image = torch.randn(2, 1, 48, 48)
    features = net.backbone.forward_features(image)
    heads = [head(features) for head in net.heads]
    exponents = [head.exp() for head in heads]
    expected = sum((exponent / sum(exponents)).log() for exponent in exponents)

    torch.testing.assert_close(net.forward_features(image), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_one_head_is_its_own_embedding():
    net = settle(make(num_heads=1))
    image = torch.randn(2, 1, 48, 48)

    assert torch.equal(net.forward_features(image), net.heads[0](net.backbone.forward_features(image)))


def test_spatial_attention_is_what_the_heads_multiply_by():
    net = make().eval()
    image = torch.randn(2, 1, 48, 48)
    features = net.backbone.forward_features(image)
    attention = net.spatial_attention(image)

    assert attention.shape == (2, 3, 6, 6)
    for head in range(3):
        torch.testing.assert_close(net.heads[head][0](features), features * attention[:, head : head + 1])


@pytest.mark.parametrize(("stem_stride", "side"), [(1, 6), (2, 3)])
def test_gradcam_layer_yields_the_map_before_the_heads(stem_stride, side):
    net = make(stem_stride=stem_stride)
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48))

    assert seen[0].shape == (2, net.embed_dim, side, side)
