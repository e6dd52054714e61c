from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fer_lightning.errors import UserError
from fer_lightning.models.conditional_gan import ConditionalBatchNorm, Discriminator, Generator


def make_generator(channels=1, image_size=32, num_classes=3, width=4):
    torch.manual_seed(0)
    return Generator(num_classes=num_classes, channels=channels, image_size=image_size, latent_dim=5, width=width)


def make_discriminator(channels=1, image_size=32, num_classes=3, width=4):
    torch.manual_seed(1)
    return Discriminator(num_classes=num_classes, channels=channels, image_size=image_size, width=width)


@pytest.mark.parametrize("image_size", [32, 48, 64, 80, 96])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_runs_forward_and_backward(image_size, channels):
    generator, discriminator = make_generator(channels, image_size), make_discriminator(channels, image_size)
    label = torch.tensor([0, 2])
    with torch.autocast("cpu", torch.bfloat16):
        image = generator(torch.randn(2, 5), label)
        scores = discriminator(image, label)
    scores.sum().backward()

    assert image.shape == (2, channels, image_size, image_size)
    assert image.dtype == torch.float32 and image.abs().max() <= 1
    assert scores.shape == (2,) and scores.dtype == torch.float32
    assert all(parameter.grad is not None for net in (generator, discriminator) for parameter in net.parameters())


@pytest.mark.parametrize("image_size", [16, 40, 112])
@pytest.mark.parametrize("make", [make_generator, make_discriminator])
def test_other_sizes_are_refused_in_a_sentence(make, image_size):
    with pytest.raises(UserError, match=f"data.image_size must be 32, 48, .* for procedure=gan; got {image_size}"):
        make(image_size=image_size)


def test_the_class_changes_the_face():
    generator = make_generator()
    with torch.no_grad():
        for norm in generator.norms:
            norm.scale.add_(torch.randn(norm.scale.shape))
    latent = torch.randn(1, 5).repeat(2, 1)
    generator.eval()
    same, other = generator(latent, torch.tensor([1, 1])), generator(latent, torch.tensor([1, 2]))

    largest = other.abs().max()
    assert (same[0] - same[1]).abs().max() < 1e-4 * largest
    assert (other[0] - other[1]).abs().max() > 0.1 * largest


def largest_singular_value(weight):
    return torch.linalg.matrix_norm(weight.flatten(1), ord=2)


def test_the_discriminator_is_a_projection():
    """f(x, y) = w . phi(x) + b + v_y . phi(x), with every weight divided by an exact spectral norm."""
    discriminator = make_discriminator()
    image, label = torch.randn(4, 1, 32, 32), [2, 0, 1, 1]
    with torch.no_grad():
        for _ in range(60):
            discriminator(image[:1], torch.tensor(label[:1]))
    found = discriminator.eval()(image, torch.tensor(label))

    weights = {
        name: layer.parametrizations.weight.original / largest_singular_value(layer.parametrizations.weight.original)
        for name, layer in discriminator.named_modules()
        if hasattr(layer, "parametrizations")
    }
    assert sorted(weights) == ["convs.0", "convs.1", "convs.2", "convs.3", "embedding", "head"]
    phi = image
    for number in range(4):
        phi = F.leaky_relu(
            F.conv2d(phi, weights[f"convs.{number}"], discriminator.convs[number].bias, stride=2, padding=1), 0.1
        )
    phi = phi.sum((2, 3))
    for row, name in enumerate(label):
        expected = weights["head"][0] @ phi[row] + discriminator.head.bias[0] + weights["embedding"][name] @ phi[row]
        torch.testing.assert_close(found[row], expected, rtol=1e-3, atol=1e-4)


def test_spectral_norms_do_not_suffer_from_autocast():
    first, second = make_discriminator(), make_discriminator()
    image, label = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 2, 0])
    first(image, label)
    with torch.autocast("cpu", torch.bfloat16):
        second(image, label)
    for one, other in zip(first.eval().convs, second.eval().convs):
        assert torch.equal(one.weight, other.weight)


def test_scores_do_not_depend_on_the_rest_of_the_batch():
    discriminator = make_discriminator().eval()
    image, label = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 2, 0])
    alone = torch.cat([discriminator(image[[row]], label[[row]]) for row in range(4)])
    torch.testing.assert_close(discriminator(image, label), alone)


def test_they_learn_which_class_looks_how():
    """Two classes, one dark and one bright. Each net learns alone: who wins their game is chance within few steps."""
    generator, discriminator = make_generator(num_classes=2, width=8), make_discriminator(num_classes=2, width=8)
    label = torch.arange(8) % 2
    real = (label.float() - 0.5).view(-1, 1, 1, 1) + 0.1 * torch.randn(8, 1, 32, 32)

    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    for _ in range(30):
        right, wrong = discriminator(real.repeat(2, 1, 1, 1), torch.cat([label, 1 - label])).chunk(2)
        optimizer.zero_grad()
        (F.relu(1 - right).mean() + F.relu(1 + wrong).mean()).backward()
        optimizer.step()
    assert right.min() > 0.5 and wrong.max() < -0.5

    optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
    for _ in range(30):
        fake = generator(torch.randn(8, 5), label)
        optimizer.zero_grad()
        F.mse_loss(fake, real).backward()
        optimizer.step()
    dark, bright = fake.mean((1, 2, 3)).view(4, 2).mean(0)
    assert dark < -0.3 and bright > 0.3


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
