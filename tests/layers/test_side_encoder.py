import numpy as np
import pytest
import torch

from fer_lightning.layers.side_encoder import SideEncoder


def sides(found, values=6, seed=0):
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
    side = sides([1, 0, 1, 0])
    side[3, 1:] = 100.0
    encoded = encoder.train(training)(side)
    assert torch.equal(encoded[1], encoder.missing) and torch.equal(encoded[3], encoder.missing)
    assert not torch.equal(encoded[0], encoder.missing)


def test_the_vector_learns_from_missing_faces_alone(encoder):
    encoder(sides([1, 0, 0])).sum().backward()
    assert torch.equal(encoder.missing.grad, torch.full((4,), 2.0))
    encoder.zero_grad()
    encoder(sides([1, 1, 1])).sum().backward()
    assert torch.equal(encoder.missing.grad, torch.zeros(4))


def test_running_means_are_those_of_the_faces_that_were_found(encoder):
    encoder.standardise.momentum = 1.0
    side = sides([1, 0, 1, 1, 0])
    encoder(side)
    found = side[[0, 2, 3], 1:].numpy()
    np.testing.assert_allclose(encoder.standardise.running_mean.numpy(), found.mean(0), rtol=1e-6)
    # Two of five rows lie on the mean: the sum of squares is shared by 5 - 1.
    expected = ((found - found.mean(0)) ** 2).sum(0) / 4
    np.testing.assert_allclose(encoder.standardise.running_var.numpy(), expected, rtol=1e-5)


def test_a_batch_without_any_face_is_finite(encoder):
    encoded = encoder(sides([0, 0]))
    encoded.sum().backward()
    assert torch.equal(encoded, encoder.missing.expand(2, 4))
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())
    assert torch.isfinite(encoder.standardise.running_mean).all()


def test_units_of_the_values_do_not_matter(encoder):
    """Standardised they are the same, so landmarks may come in any scale."""
    side = sides([1, 1, 1, 1])
    larger = torch.cat([side[:, :1], 1000 * side[:, 1:] - 300], dim=1)
    torch.testing.assert_close(encoder(side), encoder(larger), atol=1e-3, rtol=1e-3)
