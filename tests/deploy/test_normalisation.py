from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.dataset import ExpressionDataset
from fer_lightning.deploy.normalisation import normalise


class Fixed:
    """A store of these images."""

    def __init__(self, images):
        self.images = images

    def batch(self, rows):
        return self.images[rows]


@pytest.mark.parametrize(("channels", "mean", "std"), [(1, [0.5], [0.25]), (3, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3])])
def test_the_same_numbers_as_in_training(channels, mean, std):
    faces = np.random.default_rng(0).integers(0, 256, (4, 20, 20, channels), dtype=np.uint8)
    training = ExpressionDataset(Fixed(faces), np.arange(4), np.zeros(4, np.int64), None, mean, std)
    seen, _ = training.__getitems__([0, 1, 2, 3])
    ours = normalise(faces, {"image_size": 20, "channels": channels, "mean": mean, "std": std})
    assert ours.dtype == np.float32 and ours.flags.c_contiguous
    np.testing.assert_allclose(ours, seen.numpy(), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 20, 21, 1), (2, 20, 20, 3), (20, 20, 1)])
def test_faces_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"takes uint8 \(N, 20, 20, 1\)"):
        normalise(np.zeros(shape, np.uint8), {"image_size": 20, "channels": 1, "mean": [0.5], "std": [0.25]})


def test_floats_are_no_pixels():
    with pytest.raises(ValueError, match="float32"):
        normalise(np.zeros((1, 20, 20, 1), np.float32), {"image_size": 20, "channels": 1, "mean": [0.5], "std": [0.25]})
