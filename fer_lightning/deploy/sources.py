"""Where pictures come from: files, folders, videos and cameras."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fer_lightning.errors import UserError

log = logging.getLogger(__name__)

VIDEOS = frozenset((".3gp", ".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"))
_BY_OPENCV = frozenset((".exr", ".hdr", ".pic", ".sr"))
# PIL names these too, and they are not pictures.
_OTHER = frozenset((".pdf", ".ps", ".eps", ".h5", ".hdf", ".fit", ".fits", ".grib", ".bufr", ".wmf", ".emf"))


@dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
        number: Counted from 0.
        seconds: When it is shown, from the first frame on.
        pixels: RGB, uint8 `(H, W, 3)`.
    """

    number: int
    seconds: float
    pixels: np.ndarray


def picture_files(source: Path) -> list[Path]:
    """The picture files of a folder and of all folders in it, by name; a file is itself.

    Raises:
        UserError: There is no such path, or no picture in the folder.
    """
    if not source.exists():
        raise UserError(f"source={source} does not exist: give a picture, a folder, a video, or a camera's number.")
    if not source.is_dir():
        return [source]
    Image.init()
    known = (set(Image.EXTENSION) | _BY_OPENCV) - VIDEOS - _OTHER
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in known and path.is_file())
    if not files:
        raise UserError(f"source={source} is a folder without pictures.")
    return files


def is_video(source: str) -> bool:
    """Whether a source is a video file, told by its ending, or a camera's number."""
    return source.isdecimal() or Path(source).suffix.lower() in VIDEOS


class Video:
    """A video file or a camera; a context manager.

    Args:
        source: A path, or the number of a camera.

    Raises:
        UserError: It cannot be opened.

    Attributes:
        expected: How many frames the file says it has; None where it does not say, and for cameras.
        rate: Frames a second, 30 where it is not known.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._is_camera = source.isdecimal()
        if not self._is_camera and not Path(source).is_file():
            raise UserError(f"source={source} does not exist: give a picture, a folder, a video, or a camera's number.")
        # Both libraries would print lines of their own about what is said here in one.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._capture = cv2.VideoCapture(int(source) if self._is_camera else source)
        if not self._capture.isOpened():
            self._capture.release()
            raise UserError(
                f"source={source}: there is no camera of this number, or another program uses it."
                if self._is_camera
                else f"source={source} is not a video that OpenCV can read, or a broken one."
            )
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.expected = int(count) if not self._is_camera and count > 0 else None
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 1 <= rate <= 240 else 30.0

    def frames(self) -> Iterator[Frame]:
        """Yields frames until the video ends, the camera vanishes, or the rest cannot be read, which is logged."""
        number, seconds, start = 0, 0.0, time.monotonic()
        while True:
            read, pixels = self._capture.read()
            if not read:
                break
            # Frame rates vary; a file without timestamps gives zeros.
            told = time.monotonic() - start if self._is_camera else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            seconds = max(seconds, told if told > 0 or self._is_camera else number / self.rate)
            yield Frame(number, seconds, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            number += 1
        if self._is_camera:
            log.warning("Camera %s sends no more pictures: ending after %d frames.", self._source, number)
        elif self.expected is not None and number < 0.98 * self.expected - 1:
            log.warning("%s breaks off: %d of %d frames could be read.", self._source, number, self.expected)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()
