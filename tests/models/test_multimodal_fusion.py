from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fer_lightning.errors import UserError
from fer_lightning.models.multimodal_fusion import GatedMultimodalUnit, MultimodalFusion, SideEncoder

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "side": "landmarks",
    "side_dim": 137,
    "widths": (16, 16, 32, 32),
    "depths": (1, 1, 1, 1),
    "stem_stride": 2,
    "side_width": 16,
    "embed_dim": 24,
    "dropout": 0.0,
}


def make(**changes):
    torch.manual_seed(0)
    return MultimodalFusion(**{**SMALL, **changes})


def sides(count, size=137):
    side = torch.randn(count, size)
    side[:, 0] = 1
    return side


def test_both_inputs_are_heard():
    net = make().eval()
    image, side = torch.randn(2, 1, 48, 48), sides(2)
    assert not torch.allclose(net(image, side), net(image.flip(-1), side))
    assert not torch.allclose(net(image, side), net(image, sides(2)))


def test_what_was_not_found_is_not_heard():
    net = make().eval()
    image = torch.randn(2, 1, 48, 48)
    garbage = sides(2)
    garbage[:, 0] = 0
    assert torch.equal(net(image, garbage), net(image, torch.zeros(2, 137)))


def test_gradcam_sees_the_last_map():
    net = make().eval()
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48), sides(2))
    assert seen[0].shape == (2, 32, 3, 3)


def test_a_side_vector_of_another_size_is_a_sentence():
    with pytest.raises(UserError, match=r"model\.side_dim must be 53"):
        make()(torch.randn(2, 1, 48, 48), sides(2, 53))


def test_it_learns_from_the_side_vector_where_images_say_nothing():
    net = make()
    image, side, target = torch.zeros(14, 1, 16, 16), sides(14), torch.arange(14) % 7
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(image, side), target).backward()
        optimizer.step()

    assert (net(image, side).argmax(1) == target).all()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_it_is_the_equation_of_the_paper():
    torch.manual_seed(0)
    unit = GatedMultimodalUnit(3, 2, 5)
    first, second = torch.randn(4, 3), torch.randn(4, 2)
    one, other, gate = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in (unit.first, unit.second, unit.gate)
    )
    for row in range(4):
        x, y = first[row].numpy(), second[row].numpy()
        z = sigmoid(gate[0] @ np.concatenate([x, y]) + gate[1])
        expected = z * np.tanh(one[0] @ x + one[1]) + (1 - z) * np.tanh(other[0] @ y + other[1])
        np.testing.assert_allclose(unit(first, second)[row].detach().numpy(), expected, atol=1e-6)


def test_the_gate_can_shut_out_either_modality():
    unit = GatedMultimodalUnit(3, 2, 5)
    torch.nn.init.zeros_(unit.gate.weight)
    first, second = torch.randn(4, 3), torch.randn(4, 2)
    torch.nn.init.constant_(unit.gate.bias, 100.0)
    torch.testing.assert_close(unit(first, second), unit.first(first).tanh())
    torch.nn.init.constant_(unit.gate.bias, -100.0)
    torch.testing.assert_close(unit(first, second), unit.second(second).tanh())


def encoded_sides(found, values=6, seed=0):
    """Side vectors around 5, zeros where no face was found."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.tensor(found, dtype=torch.float32)[:, None]
    return torch.cat([found, found * (5 + torch.randn(len(found), values, generator=generator))], dim=1)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = SideEncoder(7, 4)
    torch.nn.init.normal_(encoder.missing)
    return encoder


@pytest.mark.parametrize("training", [True, False])
def test_a_missing_face_is_the_learned_vector_whatever_the_rest_says(encoder, training):
    side = encoded_sides([1, 0, 1, 0])
    side[3, 1:] = 100.0
    encoded = encoder.train(training)(side)
    assert torch.equal(encoded[1], encoder.missing) and torch.equal(encoded[3], encoder.missing)
    assert not torch.equal(encoded[0], encoder.missing)


def test_the_vector_learns_from_missing_faces_alone(encoder):
    encoder(encoded_sides([1, 0, 0])).sum().backward()
    assert torch.equal(encoder.missing.grad, torch.full((4,), 2.0))
    encoder.zero_grad()
    encoder(encoded_sides([1, 1, 1])).sum().backward()
    assert torch.equal(encoder.missing.grad, torch.zeros(4))


def test_running_means_are_those_of_the_faces_that_were_found(encoder):
    encoder.standardise.momentum = 1.0
    side = encoded_sides([1, 0, 1, 1, 0])
    encoder(side)
    found = side[[0, 2, 3], 1:].numpy()
    np.testing.assert_allclose(encoder.standardise.running_mean.numpy(), found.mean(0), rtol=1e-6)
    # Two of five rows lie on the mean: the sum of squares is shared by 5 - 1.
    expected = ((found - found.mean(0)) ** 2).sum(0) / 4
    np.testing.assert_allclose(encoder.standardise.running_var.numpy(), expected, rtol=1e-5)


def test_a_batch_without_any_face_is_finite(encoder):
    encoded = encoder(encoded_sides([0, 0]))
    encoded.sum().backward()
    assert torch.equal(encoded, encoder.missing.expand(2, 4))
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())
    assert torch.isfinite(encoder.standardise.running_mean).all()


def test_units_of_the_values_do_not_matter(encoder):
    """Standardised they are the same, so landmarks may come in any scale."""
    side = encoded_sides([1, 1, 1, 1])
    larger = torch.cat([side[:, :1], 1000 * side[:, 1:] - 300], dim=1)
    torch.testing.assert_close(encoder(side), encoder(larger), atol=1e-3, rtol=1e-3)
