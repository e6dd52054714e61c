"""From pixels to what a network was trained on; the same numbers as in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def normalise(faces: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Brings faces into the range of a network.

    Args:
        faces: uint8 `(N, S, S, C)`.
        preprocessing: `image_size` S, `channels` C, and `mean` and `std` of pixel values in 0..1, one value or one a
            channel.

    Returns:
        float32 `(N, C, S, S)`, contiguous.

    Raises:
        ValueError: The faces have another shape or type.
    """
    size, channels = preprocessing["image_size"], preprocessing["channels"]
    if faces.dtype != np.uint8 or faces.shape[1:] != (size, size, channels):
        raise ValueError(f"faces are {faces.dtype} {faces.shape}: the net takes uint8 (N, {size}, {size}, {channels}).")
    mean, std = (255 * np.asarray(preprocessing[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    return np.ascontiguousarray((faces.transpose(0, 3, 1, 2) - mean) / std, np.float32)
