"""A hash of what a picture looks like: similar pictures have similar hashes."""

from __future__ import annotations

import numpy as np
from scipy.fft import dctn

THUMBNAIL_SIDE = 32
_LOW = 8


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """The 64-bit pHash of every thumbnail: which of its 8 x 8 lowest DCT coefficients are above their median.

    Args:
        thumbnails: Grey, `(N, 32, 32)`.

    Returns:
        `(N,)` uint64.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1.

    Readings:
        The coefficient of the mean brightness is one of the 64 and part of the median, as in the package imagehash.
    """
    spectrum = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")
    low = spectrum[:, :_LOW, :_LOW].reshape(-1, _LOW * _LOW)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]
