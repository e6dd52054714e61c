import numpy as np
import pytest
import scipy.fft
import torch

from fer_lightning.errors import UserError
from fer_lightning.layers.spectral import BANDS, BandPass, SpectralBlock, band_mask, dct_matrix

EDGES = (0.1, 0.5)


@pytest.mark.parametrize("size", [7, 48, 112])
def test_dct_matches_scipy(size):
    image = np.random.default_rng(0).standard_normal((size, size))
    matrix = dct_matrix(size).double().numpy()

    np.testing.assert_allclose(matrix @ image @ matrix.T, scipy.fft.dctn(image, norm="ortho"), atol=1e-5)


@pytest.mark.parametrize("size", [48, 64, 96, 112, 224])
def test_bands_partition_the_coefficients(size):
    parts = torch.stack([band_mask(size, band, EDGES) for band in ("low", "mid", "high")])

    assert torch.equal(parts.sum(0), torch.ones(size, size))
    assert (parts.sum((1, 2)) > 0).all()
    assert torch.equal(band_mask(size, "low_mid", EDGES), parts[0] + parts[1])
    assert torch.equal(band_mask(size, "all", EDGES), torch.ones(size, size))


def test_bands_follow_the_diagonals():
    mask = band_mask(10, "mid", (0.15, 0.5))

    for u in range(10):
        for v in range(10):
            assert mask[u, v] == (3 <= u + v < 10)


@pytest.mark.parametrize("band", BANDS)
def test_band_pass_matches_scipy(band):
    image = torch.randn(2, 3, 48, 48)
    coefficients = scipy.fft.dctn(image.numpy(), axes=(2, 3), norm="ortho") * band_mask(48, band, EDGES).numpy()
    expected = scipy.fft.idctn(coefficients, axes=(2, 3), norm="ortho")

    np.testing.assert_allclose(BandPass(48, band, EDGES)(image).numpy(), expected, atol=1e-4)


def test_all_bands_give_the_image_back():
    image = torch.randn(1, 1, 64, 64)

    torch.testing.assert_close(BandPass(64, "all", EDGES)(image), image, atol=1e-4, rtol=1e-4)


def test_band_pass_stays_float32_under_autocast():
    image = torch.randn(1, 1, 48, 48) + 100  # a large constant next to small detail
    band_pass = BandPass(48, "mid", EDGES)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = band_pass(image)

    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, band_pass(image))


def test_fixed_matrices_are_not_saved_with_the_weights():
    block = SpectralBlock(1, 8, image_size=48, band="mid", edges=EDGES, stride=2, normalization="none")

    assert set(block.state_dict()) == {"features.conv.weight", "features.conv.bias"}


@pytest.mark.parametrize(
    ("band", "edges", "message"),
    [
        ("middle", EDGES, "model.band must be one of .*; got 'middle'"),
        ("mid", (0.5, 0.1), "model.band_edges"),
        ("mid", (0, 2), "model.band_edges"),
    ],
)
def test_bad_bands_are_refused(band, edges, message):
    with pytest.raises(UserError, match=message):
        band_mask(48, band, edges)
