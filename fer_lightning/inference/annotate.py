"""Boxes and labels on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from fer_lightning.deploy.prediction import UNCERTAIN, Prediction

_COLOUR = "#0b6e4f"
_PALE = "#6b7280"


def draw_predictions(picture: np.ndarray, predictions: Sequence[Prediction]) -> np.ndarray:
    """Marks every face with its box, label and confidence, and the number of its track.

    Args:
        picture: RGB, uint8 `(H, W, 3)`.
        predictions: What was read in it.

    Returns:
        A marked copy, uint8 `(H, W, 3)`.
    """
    drawn = Image.fromarray(picture)
    pen = ImageDraw.Draw(drawn)
    line = max(1, round(min(drawn.size) / 240))
    font = _font(max(9, round(min(drawn.size) / 30)))
    for prediction in reversed(predictions):  # the largest face last, on top
        number = "" if prediction.track is None else f"{prediction.track}  "
        text = f"{number}{prediction.label} {prediction.confidence:.0%}"
        mark_face(pen, prediction.box, text, font, _PALE if prediction.label == UNCERTAIN else _COLOUR, line)
    return np.asarray(drawn)


def mark_face(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: str,
    line: int,
    radius: int = 0,
) -> None:
    """Draws a box with a label.

    Args:
        pen: Of the picture.
        box: x and y of the upper left corner, width and height, in pixels.
        text: The label: above the box, or inside where the picture ends.
        font: Of the label, which is white.
        colour: Of the box, and behind the label.
        line: Width of lines in pixels.
        radius: Of the corners of the label in pixels; those of the box have twice as much.
    """
    x, y, width, height = box
    pen.rounded_rectangle((x, y, x + width, y + height), radius=2 * radius, outline=colour, width=line)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right - left + 4 * line, bottom - top + 4 * line
    at_x = min(max(x, 0), max(0, pen.im.size[0] - wide))
    at_y = y - high if y >= high else max(y, 0)
    pen.rounded_rectangle((at_x, at_y, at_x + wide, at_y + high), radius=radius, fill=colour)
    pen.text((at_x + 2 * line - left, at_y + 2 * line - top), text, font=font, fill="white")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
