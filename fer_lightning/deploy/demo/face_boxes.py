"""Boxes with labels on a picture, the face that is looked at in another colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from fer_lightning.deploy.prediction import Prediction
from fer_lightning.report.style import ACCENT, VALIDATION


def draw_boxes(picture: np.ndarray, predictions: Sequence[Prediction], chosen: int) -> np.ndarray:
    """Marks faces.

    Args:
        picture: RGB, uint8 `(H, W, 3)`.
        predictions: Its faces; where there are several, each label begins with its number, counted from 1.
        chosen: Index of the one that is looked at; it is drawn last, over the others.

    Returns:
        uint8 `(H, W, 3)`.
    """
    drawn = Image.fromarray(picture)
    line = max(2, max(drawn.size) // 300)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), max(11, max(drawn.size) // 42))
    pen = ImageDraw.Draw(drawn)
    for index in sorted(range(len(predictions)), key=lambda index: index == chosen):
        prediction = predictions[index]
        number = f"{index + 1} " if len(predictions) > 1 else ""
        text = f"{number}{prediction.label} {prediction.confidence:.0%}"
        _draw_box(pen, prediction.box, text, font, ACCENT if index == chosen else VALIDATION, line)
    return np.asarray(drawn)


def _draw_box(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: str,
    line: int,
) -> None:
    x, y, width, height = box
    pen.rounded_rectangle((x, y, x + width, y + height), radius=2 * line, outline=colour, width=line)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    room = (right - left + 4 * line, bottom - top + 4 * line)
    corner = (min(max(x, 0), max(pen.im.size[0] - room[0], 0)), y - room[1] if y >= room[1] else max(y, 0))
    pen.rounded_rectangle((*corner, corner[0] + room[0], corner[1] + room[1]), radius=line, fill=colour)
    pen.text((corner[0] + 2 * line - left, corner[1] + 2 * line - top), text, font=font, fill="white")
