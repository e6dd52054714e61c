"""Anti-aliased painting of polygons onto a float image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_SUBPIXEL_BITS = 4
# Anti-aliasing already softens an edge by about this many pixels.
_INVISIBLE_BLUR = 0.6


class Canvas:
    """A square RGB picture that shapes are blended onto.

    Attributes:
        pixels: The picture `(3, S, S)` float32 in [0, 255]; whole planes are quicker to blend than interleaved colours.
        light: What lit colours are multiplied with `(3, S, S)` float32.
    """

    def __init__(self, pixels: np.ndarray, light: np.ndarray) -> None:
        self.pixels = pixels
        self.light = light
        self.side = pixels.shape[1]

    def fill(
        self,
        outlines: Sequence[np.ndarray],
        colour: np.ndarray,
        alpha: float | Sequence[float] = 1.0,
        softness: float = 0.0,
        clip: Sequence[np.ndarray] = (),
        lit: bool = False,
    ) -> None:
        """Blends polygons of one colour onto the picture; many in one call are much quicker than one by one.

        Args:
            outlines: Closed polygons `(N, 2)` in pixels.
            colour: One colour `(3,)`, or a picture `(3, S, S)` to take colours from.
            alpha: Opacity, of all of them or of each.
            softness: Standard deviation in pixels of the blur of the edges.
            clip: Polygons; where there are any, nothing outside of them is painted.
            lit: Whether the light falls on the shapes.
        """
        reach = np.concatenate(outlines)
        pad = 2 + 3 * softness
        left, top = (int(value) for value in reach.min(axis=0) - pad)
        right, bottom = (int(value) for value in reach.max(axis=0) + pad)
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, self.side), min(bottom, self.side)
        if right <= left or bottom <= top:
            return
        cover = np.zeros((bottom - top, right - left), np.uint8)
        alphas = [alpha] * len(outlines) if isinstance(alpha, float | int) else alpha
        for outline, opacity in zip(outlines, alphas):
            _cover(cover, outline, 255 * opacity, left, top)
        if softness > _INVISIBLE_BLUR:
            cover = cv2.GaussianBlur(cover, (0, 0), softness)
        if clip:
            inside = np.zeros_like(cover)
            for outline in clip:
                _cover(inside, outline, 255, left, top)
            cover = cv2.multiply(cover, inside, scale=1 / 255)
        place = np.s_[:, top:bottom, left:right]
        source = colour.astype(np.float32)[:, None, None] if colour.ndim == 1 else colour[place]
        if lit:
            source = self.light[place] * source
        region = self.pixels[place]
        change = source - region
        change *= cover * np.float32(1 / 255)
        region += change


def _cover(cover: np.ndarray, outline: np.ndarray, level: float, left: int, top: int) -> None:
    # Pixel centres lie at whole numbers for OpenCV, at halves here.
    fixed = np.rint((outline - (left + 0.5, top + 0.5)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(cover, [fixed], level, cv2.LINE_AA, _SUBPIXEL_BITS)
