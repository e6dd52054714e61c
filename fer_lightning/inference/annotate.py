"""Annotation of pictures with boxes and labels, in video files and in a window."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from fer_lightning.errors import printable
from fer_lightning.files import unwritable, writing
from fer_lightning.inference.predictions import UNCERTAIN, Prediction
from fer_lightning.plots.style import ACCENT, VALIDATION

_COLOUR = "#0b6e4f"
_PALE = "#6b7280"
log = logging.getLogger(__name__)
# Limits of the frame rate in MPEG-4; slower videos repeat their frames.
_SLOWEST, _FASTEST = 0.25, 1000.0


def draw_predictions(picture: np.ndarray, predictions: Sequence[Prediction]) -> np.ndarray:
    """Copy of an RGB picture uint8 `(H, W, 3)` with box, label, confidence and track number of every face.

    A second line has valence and arousal, where the network predicts them.
    """
    drawn = Image.fromarray(picture)
    pen = ImageDraw.Draw(drawn)
    line = max(1, round(min(drawn.size) / 240))
    font = _font(max(9, round(min(drawn.size) / 30)))
    for prediction in reversed(predictions):  # the largest face last, on top
        number = "" if prediction.track is None else f"{prediction.track}  "
        text = f"{number}{prediction.label} {prediction.confidence:.0%}\n{prediction.affect}".strip()
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
        pen: Drawing interface of the picture.
        box: x and y of the upper left corner, width and height, in pixels.
        text: Label, drawn above the box, or inside at the border of the picture.
        font: Font of the label, which is white.
        colour: Colour of the box and of the label's background.
        line: Width of lines in pixels.
        radius: Radius of the label's corners in pixels; those of the box have twice as much.
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


class AnnotatedVideo:
    """Writer of frames to an MP4 file, which appears when the block ends; a context manager.

    OpenCV writes MP4 with a constant rate: a frame that is shown for longer is repeated, and the last one of several at
    the same time is used, so that the duration is that of the source.

    Args:
        path: Path of the file, ending in `.mp4`; its folder is created.
        rate: Frames per second.

    Raises:
        UserError: The file cannot be written; raised at the end of the block, unless there is another error.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}")
        rate = min(max(rate, _SLOWEST), _FASTEST)
        self._rate = round(rate, 3 if rate < 65 else 2 if rate < 650 else 1)  # a fraction of numbers below 65536
        self._writer: Any = None
        self._size = (0, 0)
        self._waiting: np.ndarray | None = None
        self._is_written = False
        self._written = 0

    def write(self, picture: np.ndarray, seconds: float) -> None:
        """Appends a frame.

        Args:
            picture: RGB, uint8 `(H, W, 3)`, resized to the size of the first frame.
            seconds: Time of the frame since the first one.
        """
        if self._writer is None:
            self._open(picture.shape[1], picture.shape[0])
        self.repeat_until(seconds)
        if self._size != (picture.shape[1], picture.shape[0]):
            picture = cv2.resize(picture, self._size)
        self._waiting, self._is_written = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), False

    def _open(self, width: int, height: int) -> None:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.unlink(missing_ok=True)  # of a run that was killed
        self._size = (width, height)
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._partial.absolute()), code, self._rate, self._size)
        if not self._writer.isOpened():
            log.warning("OpenCV cannot write %s here: there will be no annotated video.", printable(self.path))

    def repeat_until(self, seconds: float) -> None:
        """Repeats the last frame until a time in seconds since the first frame."""
        while self._waiting is not None and self._written < round(seconds * self._rate):
            self._writer.write(self._waiting)
            self._written += 1
            self._is_written = True

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writer is None:
            return
        opened = self._writer.isOpened()
        if not self._is_written:
            self.repeat_until((self._written + 1) / self._rate)
        self._writer.release()
        # OpenCV does not report a full disk.
        if opened and _frames(self._partial) >= self._written:
            with writing(self.path):
                self._partial.replace(self.path)
            return
        with suppress(OSError):
            self._partial.unlink()
        if opened and kind is None:
            removed = not self.path.parent.is_dir()
            raise unwritable(
                self.path, OSError(errno.ENOENT if removed else errno.EIO, "OpenCV could not write all frames")
            )


def _frames(path: Path) -> float:
    """Number of frames of a video, 0 where it cannot be read."""
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        return float(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.read()[0] else 0.0
    finally:
        capture.release()


def can_show() -> bool:
    """Whether there is a display and OpenCV can open windows on it."""
    has_display = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return has_display and "GUI:                           NONE" not in cv2.getBuildInformation()


def show(picture: np.ndarray) -> bool:
    """Shows a picture, RGB uint8 `(H, W, 3)`; False as soon as the user types q or Escape."""
    cv2.imshow("fer predict", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)


def draw_boxes(picture: np.ndarray, predictions: Sequence[Prediction], chosen: int) -> np.ndarray:
    """Copy of an RGB picture uint8 `(H, W, 3)` with marked faces, numbered from 1 where there are several.

    That of the index `chosen` is drawn last, over the others.
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
