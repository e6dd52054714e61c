import torch

from fer_lightning.layers.conditional_batch_norm import ConditionalBatchNorm


def test_it_is_the_normalised_batch_with_the_scale_and_shift_of_each_class():
    torch.manual_seed(0)
    layer = ConditionalBatchNorm(3, num_classes=2)
    with torch.no_grad():
        layer.scale.copy_(torch.randn(2, 3))
        layer.shift.copy_(torch.randn(2, 3))
    features, label = torch.randn(4, 3, 5, 6) * 3 + 1, [0, 1, 1, 0]
    found = layer(features, torch.tensor(label))

    mean, variance = features.mean((0, 2, 3)), features.var((0, 2, 3), correction=0)
    for image, name in enumerate(label):
        for channel in range(3):
            normal = (features[image, channel] - mean[channel]) / (variance[channel] + 1e-5).sqrt()
            expected = layer.scale[name, channel] * normal + layer.shift[name, channel]
            torch.testing.assert_close(found[image, channel], expected)


def test_it_starts_as_batch_normalisation_of_any_class():
    features = torch.randn(4, 3, 5, 6)
    expected = torch.nn.BatchNorm2d(3)(features)
    torch.testing.assert_close(ConditionalBatchNorm(3, 7)(features, torch.tensor([0, 3, 6, 6])), expected)
