"""Boxes with labels on a picture, the face that is looked at in another colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from fer_lightning.inference.annotate import mark_face
from fer_lightning.deploy.prediction import Prediction
from fer_lightning.plots.style import ACCENT, VALIDATION


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
        mark_face(pen, prediction.box, text, font, ACCENT if index == chosen else VALIDATION, line, radius=line)
    return np.asarray(drawn)
