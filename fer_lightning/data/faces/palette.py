"""Colours of skin, hair, lips and eyes, RGB in [0, 255]."""

from __future__ import annotations

import numpy as np

from fer_lightning.data.synthetic_faces.parameters import Identity

_SKIN = np.array([(248, 218, 196), (236, 192, 164), (214, 162, 128), (176, 122, 88), (130, 86, 62), (98, 66, 50.0)])
_HAIR = np.array([(24, 20, 20), (52, 36, 28), (96, 64, 42), (150, 106, 66), (206, 168, 112), (232, 206, 156.0)])
_IRIS = np.array([(44, 28, 18), (84, 54, 30), (110, 98, 54), (92, 116, 96), (96, 134, 168.0)])


def _along(colours: np.ndarray, position: float) -> np.ndarray:
    place = float(np.clip(position, 0.0, 1.0)) * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    return colours[low] + (place - low) * (colours[low + 1] - colours[low])


def skin_colour(identity: Identity) -> np.ndarray:
    """Colour of well-lit skin `(3,)`."""
    warmth = 1 + identity.skin_warmth * np.array([0.02, 0.0, -0.05])
    return np.clip(_along(_SKIN, identity.skin_tone) * warmth, 0, 255)


def hair_colour(identity: Identity) -> np.ndarray:
    """Colour of the hair `(3,)`, grey with age."""
    colour = _along(_HAIR, identity.hair_tone) + identity.hair_redness * np.array([60.0, 8.0, -10.0])
    grey = float(np.clip((identity.age - 0.55) / 0.4, 0.0, 0.9))
    return np.clip(colour + grey * (np.array([178.0, 176.0, 172.0]) - colour), 0, 255)


def brow_colour(identity: Identity) -> np.ndarray:
    """Colour of the brows `(3,)`: darker than the hair."""
    return 0.3 * np.array([30.0, 22.0, 18.0]) + 0.45 * hair_colour(identity)


def lip_colour(identity: Identity) -> np.ndarray:
    """Colour of the lips `(3,)`: the skin's, redder, or painted."""
    natural = skin_colour(identity) * [0.84, 0.62, 0.62]
    painted = np.array([176.0, 34.0, 52.0]) * (1 - 0.35 * identity.skin_tone)
    return natural + identity.lip_colour * 0.8 * (painted - natural)


def iris_colour(identity: Identity) -> np.ndarray:
    """Colour of the iris `(3,)`."""
    return _along(_IRIS, identity.iris_tone)
