import pytest
import torch

from fer_lightning.models.resnet import ResNet

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "widths": (16, 16, 32, 32),
    "depths": (1, 1, 1, 1),
    "stem_stride": 2,
    "dropout": 0.0,
}


def make(**changes):
    torch.manual_seed(0)
    return ResNet(**{**SMALL, **changes})


@pytest.mark.parametrize(("stem_stride", "side"), [(1, 6), (2, 3)])
def test_stem_stride_alone_shrinks_the_image_before_the_stages(stem_stride, side):
    net = make(stem_stride=stem_stride)
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48))

    assert seen[0].shape == (2, 32, side, side)


def test_features_are_the_average_of_the_gradcam_map():
    net = make().eval()
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = torch.randn(2, 1, 48, 48)
    embedding = net.forward_features(image)

    torch.testing.assert_close(embedding, seen[0].mean((2, 3)))
    assert torch.equal(net(image), net.classify(embedding))
