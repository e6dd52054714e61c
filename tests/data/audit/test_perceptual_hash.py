from __future__ import annotations

import cv2
import numpy as np
from scipy.fft import dct

from fer_lightning.data.audit.hamming_search import distances
from fer_lightning.data.audit.perceptual_hash import perceptual_hashes


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (32, 32)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def test_by_the_formula():
    """imagehash.phash, written out: two one-dimensional transforms, the median, and the bits row by row."""
    thumbnail = picture(0)
    low = dct(dct(thumbnail.astype(float), axis=0), axis=1)[:8, :8]
    scale = np.where(np.arange(8) == 0, np.sqrt(0.5), 1)  # orthonormal
    low *= scale[:, None] * scale
    bits = (low > np.median(low)).reshape(-1)
    assert np.unpackbits(perceptual_hashes(thumbnail[None]).view(np.uint8)).astype(bool).tolist() == bits.tolist()


def test_similar_pictures_have_similar_hashes():
    pictures = np.stack([picture(seed) for seed in range(40)])
    darker = (0.6 * pictures + 20).astype(np.uint8)
    hashes = perceptual_hashes(pictures)
    assert distances(hashes, perceptual_hashes(darker)).max() <= 6
    assert distances(hashes[:-1], hashes[1:]).min() > 12
