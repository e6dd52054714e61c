import pytest
import torch
import torch.nn.functional as F

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


@pytest.mark.parametrize("image_size", [48, 64, 96, 112, 224])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_every_size_runs_forward_and_backward(image_size, in_channels):
    net = make(in_channels=in_channels)
    image = torch.randn(2, in_channels, image_size, image_size).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(image)
        loss = F.cross_entropy(logits, torch.tensor([0, 1]))
    loss.backward()

    assert logits.shape == (2, 7)
    assert all(parameter.grad is not None for parameter in net.parameters())


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


def test_dropout_works_in_training_only():
    net = make(dropout=0.5)
    embedding = torch.ones(1, 32)
    net.forward_features = lambda image: embedding

    assert not torch.equal(net(embedding), net(embedding))
    net.eval()
    assert torch.equal(net(embedding), net(embedding))


def test_it_overfits_32_random_images():
    net = make()
    image, target = torch.randn(32, 1, 48, 48), torch.arange(32) % 7
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(net(image), target).backward()
        optimizer.step()

    assert (net(image).argmax(1) == target).all()
