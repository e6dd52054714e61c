import math

import cv2
import numpy as np
import torch

from fer_lightning.layers.texture import GaborBank, LocalBinaryPattern, gabor_kernel


def test_local_binary_pattern_matches_a_literal_loop():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 4, (5, 6)).astype(np.float32)  # few grey levels, so that ties occur
    clockwise = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    expected = np.zeros_like(image)
    for row in range(5):
        for column in range(6):
            for bit, (down, right) in enumerate(clockwise):
                neighbour = image[min(max(row + down, 0), 4), min(max(column + right, 0), 5)]
                expected[row, column] += 2**bit * (neighbour >= image[row, column])

    codes = LocalBinaryPattern(1)(torch.from_numpy(image)[None, None])

    np.testing.assert_allclose(codes[0, 0].numpy(), expected / 255, rtol=1e-6)


def test_local_binary_pattern_ignores_brightness_and_contrast():
    image = torch.randn(2, 3, 8, 8)

    assert torch.equal(LocalBinaryPattern(3)(image), LocalBinaryPattern(3)(image * 2 + 1))


def test_gabor_kernel_matches_opencv():
    for orientation in (0.0, math.pi / 4, 2.0):
        reference = cv2.getGaborKernel((13, 13), 2.5, orientation, 5.0, 0.5, psi=0, ktype=cv2.CV_64F)
        reference = reference[::-1, ::-1]  # even, so this only undoes OpenCV's flipped axes
        reference = reference - reference.mean()
        kernel = gabor_kernel(side=13, wavelength=5.0, orientation=orientation, sigma=2.5, aspect=0.5)
        np.testing.assert_allclose(kernel.numpy(), reference / np.abs(reference).sum(), atol=1e-6)


def test_gabor_bank_answers_most_to_its_own_wave():
    x = torch.arange(32.0)
    wave = torch.cos(2 * math.pi * x / 4).expand(32, 32)  # wavelength 4 along x
    responses = GaborBank(2)(torch.stack([wave, wave.T])[None])[0, :, 8:24, 8:24].mean((1, 2))

    assert responses.shape == (16,)
    assert responses[:8].argmax() == 0  # orientation 0 of wavelength 4
    assert responses[8:].argmax() == 2  # a quarter turn


def test_gabor_bank_is_blind_to_a_flat_image():
    assert GaborBank(1)(torch.full((1, 1, 32, 32), 5.0))[..., 8:24, 8:24].abs().max() < 1e-5
