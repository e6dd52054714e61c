"""A heat map over a face."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps

_HEAT = colormaps["turbo"]
_STRONGEST = 0.75  # how much of the face the hottest place hides


def overlay(face: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Colours a face by a map; where the map is 0 the face stays as it is.

    Args:
        face: uint8 (S, S, C) with one or three channels.
        heat: (S, S) in 0..1.

    Returns:
        uint8 (S, S, 3).
    """
    pixels = np.repeat(face, 3, axis=2) if face.shape[2] == 1 else face
    share = _STRONGEST * np.sqrt(heat)[..., None]
    blended = (1 - share) * pixels + share * 255 * _HEAT(heat)[..., :3]
    return blended.round().astype(np.uint8)
