"""A video file that is written frame by frame."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from fer_lightning.errors import printable
from fer_lightning.files import unwritable, writing

log = logging.getLogger(__name__)

# What MPEG-4 counts in; slower videos repeat their frames.
_SLOWEST, _FASTEST = 0.25, 1000.0


class AnnotatedVideo:
    """Writes frames to an MP4 file, which has its name when the block is left; a context manager.

    MP4 as OpenCV writes it has a constant rate: a frame that is shown for longer is repeated, and of several in the
    same moment the last one counts, so that the video lasts as long as what it shows.

    Args:
        path: The file, ending in `.mp4`; its folder is made.
        rate: Frames a second.

    Attributes:
        path: The file, there once the block is left and a frame was written.

    Raises:
        UserError: The file cannot be written; when the block is left without another error.
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
            picture: RGB, uint8 `(H, W, 3)`; all get the size of the first.
            seconds: When it is shown, from the first frame on.
        """
        if self._writer is None:
            self._open(picture.shape[1], picture.shape[0])
        self._repeat(seconds)
        if self._size != (picture.shape[1], picture.shape[0]):
            picture = cv2.resize(picture, self._size)
        self._waiting, self._is_written = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), False

    def finish(self, seconds: float) -> None:
        """Shows the last frame until a moment, counted from the first frame on."""
        self._repeat(seconds)

    def _open(self, width: int, height: int) -> None:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.unlink(missing_ok=True)  # of a run that was killed
        self._size = (width, height)
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._partial.absolute()), code, self._rate, self._size)
        if not self._writer.isOpened():
            log.warning("OpenCV cannot write %s here: there will be no annotated video.", printable(self.path))

    def _repeat(self, until: float) -> None:
        while self._waiting is not None and self._written < round(until * self._rate):
            self._writer.write(self._waiting)
            self._written += 1
            self._is_written = True

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        opened = self._writer.isOpened()
        if not self._is_written:
            self._repeat((self._written + 1) / self._rate)
        self._writer.release()
        # OpenCV does not say when the disk is full.
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
    """How many frames a video holds, 0 where it does not play."""
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        return float(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.read()[0] else 0.0
    finally:
        capture.release()
