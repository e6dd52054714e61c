"""A video file that is written frame by frame."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

log = logging.getLogger(__name__)


class AnnotatedVideo:
    """Writes frames to an MP4 file, which has its name when the block is left; a context manager.

    A frame rate that varies becomes its mean: MP4 as OpenCV writes it knows one.

    Args:
        path: The file, ending in `.mp4`; its folder is made.
        rate: Frames a second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}")
        self._rate = rate
        self._writer: Any = None
        self._size = (0, 0)

    def write(self, picture: np.ndarray) -> None:
        """Appends a frame, RGB uint8 `(H, W, 3)`; all have the size of the first."""
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._size = (picture.shape[1], picture.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), code, self._rate, self._size)
            if not self._writer.isOpened():
                log.warning("OpenCV cannot write %s here: there will be no annotated video.", self._path)
        if self._size != (picture.shape[1], picture.shape[0]):
            picture = cv2.resize(picture, self._size)
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
            if self._partial.is_file():
                self._partial.replace(self._path)
