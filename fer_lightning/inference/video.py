"""Sources of pictures: files, folders, videos and cameras."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image

from fer_lightning.errors import UserError, printable
from fer_lightning.inference.images import is_address

log = logging.getLogger(__name__)

ACCEPTED = "give a picture, a folder, a video, or a camera's number"
_VIDEOS = frozenset(
    re.findall(
        r"\S+",
        ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2ts .m2v .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpe .mpeg .mpg .mts "
        ".mxf .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m",
    )
)
_BY_OPENCV = frozenset((".exr", ".hdr", ".pic", ".sr"))
# PIL lists these as well, although they are not pictures.
_OTHER = frozenset((".pdf", ".ps", ".eps", ".h5", ".hdf", ".fit", ".fits", ".grib", ".bufr", ".wmf", ".emf"))
_HEIC = frozenset((".heic", ".heif", ".heics", ".hif"))
_RAW = frozenset(
    re.findall(
        r"\S+",
        ".3fr .arw .cr2 .cr3 .crw .dng .erf .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw "
        ".x3f",
    )
)
_NO_READER = frozenset((".bpg", ".flif", ".jxl", ".jxr", ".psb", ".svg", ".svgz", ".wdp", ".xcf"))
_HEIC_BRANDS = (b"hei", b"hev", b"mif", b"msf")
# Matroska and WebM, FLV, MPEG, ASF (.wmv).
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\1\xba", b"\0\0\1\xb3", b"0&\xb2u\x8ef\xcf\x11")
# Formats of pictures in files with other suffixes.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF", "MPO")
_HEAD = 1024  # bytes that identify the kind of a file

_REASONS = {
    "video": "is a video: give it alone, as source=...",
    "heic": "is a HEIC picture, which cannot be read: convert it to JPEG or PNG first",
    "raw": "is a raw photo, which cannot be read: convert it to JPEG or PNG first",
    "unknown": "is a picture of a format that cannot be read: convert it to JPEG or PNG first",
    "link": "is a link that leads to no file, or to a folder: give what it leads to as source=...",
    "special": "is not a file",
    "closed": "cannot be opened: permission is denied",
}
# Upper bound of the duration of a frame; files that exceed it are broken.
_LONGEST_PAUSE = 600.0
_PROBED = 30  # frames
_FASTEST = 1000.0  # frames a second
_USUAL_RATE = 30.0
_DENSE_RATE = 120.0


@dataclass(frozen=True)
class Frame:
    """Frame of a video.

    Attributes:
        number: Number of the frame, counted from 0.
        seconds: Time of the frame since the first one.
        pixels: RGB, uint8 `(H, W, 3)`.
    """

    number: int
    seconds: float
    pixels: np.ndarray


@dataclass(frozen=True)
class FolderContent:
    """Contents of a folder and its sub-folders.

    Attributes:
        pictures: Pictures, sorted by name.
        unread: Reason why a photo or video is not read, by file.
        left_out: Hidden folders and files, and results of this package.
    """

    pictures: list[Path] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)
    left_out: list[Path] = field(default_factory=list)


def folder_content(folder: Path) -> FolderContent:
    """Contents of a folder and all its sub-folders.

    Results of this package are omitted like hidden files, so that a second run reads the same pictures as the first:
    folders called `outputs`, and `annotated` and `annotated.mp4` beside predictions. The folder itself may have any
    name.
    """
    content = FolderContent()

    def refused(error: OSError) -> None:
        content.unread[Path(os.fsdecode(error.filename))] = _REASONS["closed"]

    for root, folders, files in os.walk(folder, onerror=refused):
        results = _results(files)
        for name in sorted(folders):
            path = Path(root, name)
            if name.startswith(".") or name in results | {"outputs", "__MACOSX"}:
                content.left_out.append(path)
                folders.remove(name)
            elif path.is_symlink():  # not followed, because it may be circular
                content.unread[path] = _REASONS["link"]
        folders.sort()
        for name in sorted(files):
            path = Path(root, name)
            if name.startswith(".") or name in results:
                content.left_out.append(path)
                continue
            kind = kind_of(path)
            if kind == "picture":
                content.pictures.append(path)
            elif kind:
                content.unread[path] = _REASONS[kind]
    content.pictures.sort()
    return content


def _results(files: Sequence[str]) -> set[str]:
    """Names of the results of this package in a folder, identified by the records beside them."""
    results = set()
    if "predictions.csv" in files or "predictions.json" in files:
        results |= {"annotated", "annotated.mp4"}
    if "metrics.json" in files:
        results |= {"figures"}
    if "explanation.json" in files:
        results |= {name for name in files if name.endswith(".png")}
    return results


def kind_of(path: Path) -> str:
    """Kind of a file by its content, or by its name where the content is not conclusive.

    Returns:
        `"picture"`, `"video"`, a key of `_REASONS` for media that cannot be read, or `""` for other files.
    """
    suffix = path.suffix.lower()
    Image.init()
    pictures = (set(Image.EXTENSION) | _BY_OPENCV) - _VIDEOS - _OTHER - _HEIC
    try:
        if not path.is_file():
            named = suffix in pictures | _VIDEOS | _HEIC | _RAW | _NO_READER
            return ("link" if path.is_symlink() else "special") if named else ""
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return "closed"
    if kind := _kind_of_content(head):
        return kind
    for kind, suffixes in (("picture", pictures), ("heic", _HEIC), ("raw", _RAW), ("unknown", _NO_READER)):
        if suffix in suffixes:
            return kind
    if suffix in _VIDEOS - {".ts"}:  # .ts may be TypeScript
        return "video"
    return "picture" if suffix not in _OTHER and _is_picture(path) else ""


def _kind_of_content(head: bytes) -> str:
    """`"video"` or `"heic"` by the first bytes, `""` for neither."""
    brand = head[8:12]
    if head[4:8] == b"ftyp" and brand[:3] not in (b"avi", b"M4A", b"M4B", b"crx"):
        return ("" if b"avif" in head[:64] else "heic") if brand[:3] in _HEIC_BRANDS else "video"
    if head.startswith(_VIDEO_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "video"
    if head[4:8] in (b"moov", b"mdat", b"wide") or (head[:4] == b"OggS" and b"theora" in head[:64]):
        return "video"
    # MPEG transport streams: a packet begins every 188 bytes, 192 in the files of camcorders.
    packets = (head[start:end:step] for start, step, end in ((0, 188, 752), (4, 192, 772)))
    return "video" if any(packet == b"G" * 4 for packet in packets) else ""


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path, formats=_FORMATS):
            return True
    except Exception:  # decoders raise exceptions of many types
        return False


def find_source(source: str) -> Path | int:
    """Existing path or number of a camera that `source=...` names.

    Raises:
        UserError: The source is neither.
    """
    if is_address(source):
        raise UserError(f"source={source} is an address, and nothing is downloaded: {ACCEPTED}.")
    path = Path(source)
    try:
        if not os.path.lexists(path):
            path = path.expanduser()
        if path.is_dir() or path.is_file():
            return path
        exists = path.exists()
    except (OSError, ValueError, RuntimeError):  # a name that is too long or has a zero byte, an unknown user
        exists = False
    if camera := re.fullmatch(r"/dev/video(\d{1,5})|(\d{1,5})", source):
        return int(camera[1] or camera[2])
    if exists:
        raise UserError(f"source={source} is not a file or a folder: {ACCEPTED}.")
    raise UserError(f"source={source} does not exist: {ACCEPTED}.")


def is_video(path: Path) -> bool:
    """Whether a file is read as a video, which includes animated GIFs.

    Raises:
        UserError: The file is a picture that cannot be read.
    """
    kind = kind_of(path)
    if kind not in ("picture", "video", ""):
        raise UserError(f"{path} {_REASONS[kind]}.")
    return kind == "video" or path.suffix.lower() in _VIDEOS - {".ts"} or (kind == "picture" and _is_moving_gif(path))


def _is_moving_gif(path: Path) -> bool:
    try:
        with Image.open(path, formats=("GIF",)) as opened:
            opened.seek(1)
            return True
    except Exception:  # not a GIF, or a broken one
        return False


class Video:
    """Video file or camera; a context manager.

    Args:
        source: Path of a file, or number of a camera.

    Raises:
        UserError: The source cannot be opened.

    Attributes:
        expected: Number of frames in the file's header; None where it is unknown, and for cameras.
        rate: Frames per second of the header where the first frames agree with it, else of these frames; 30 where
            neither is known.
        length: Duration in seconds; 0 where it is unknown, or the file was not read to its end.
        broken: Reason why the file was not read to its end; empty where it was.
    """

    length = 0.0
    broken = ""

    def __init__(self, source: Path | int) -> None:
        self._source = source
        self._timed = self._regular = True
        # Both libraries would print further messages. A file may refer to others, which must be files as well.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file,crypto,data")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._folder = TemporaryDirectory(prefix="fer_video_")
        self._capture = self._open()
        if not self._capture.isOpened():
            self.close()
            raise UserError(
                f"source={source}: there is no camera of this number, or another program uses it."
                if isinstance(source, int)
                else f"source={source} is not a video that OpenCV can read, or a broken one."
            )
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.expected = int(count) if not isinstance(source, int) and 0 < count < 2**53 else None
        self.rate, self.length = self._measure(self._capture.get(cv2.CAP_PROP_FPS))

    def _open(self) -> cv2.VideoCapture:
        if isinstance(self._source, int):
            return cv2.VideoCapture(self._source)
        path = self._source.absolute()  # FFmpeg could take a relative path for a protocol
        try:
            str(path).encode()
        except UnicodeEncodeError:  # OpenCV accepts UTF-8 names only
            link = Path(self._folder.name, "video")
            if not link.is_symlink():
                link.symlink_to(path)
            path = link
        return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)

    def _measure(self, reported: float) -> tuple[float, float]:
        """Frames per second, and the duration in seconds of the file's header (0: unknown)."""
        length = self.expected / reported if self.expected and math.isfinite(reported) and reported > 0 else 0.0
        known = 1 / _LONGEST_PAUSE <= reported <= _FASTEST
        if isinstance(self._source, int):
            return reported if known else _USUAL_RATE, 0.0
        times: list[float] = []
        while len(times) < _PROBED and self._capture.grab():
            times.append(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        self._capture.release()
        self._capture = self._open()
        steps = sorted(later - before for before, later in pairwise(times) if later > before)
        if not steps:
            self._timed = False
            return reported if known else _USUAL_RATE, length
        measured = float(np.clip(1 / steps[len(steps) // 4], 1 / _LONGEST_PAUSE, _FASTEST))
        # Some files report the ticks of their clock, or the mean of an irregular rate.
        self._regular = known and measured / 2 <= reported <= max(2 * measured, _DENSE_RATE)
        return reported if self._regular else measured, length

    def frames(self) -> Iterator[Frame]:
        """Yields frames until the video ends, the camera disconnects, or a frame cannot be read, which is logged."""
        number, seconds, start, zero = 0, 0.0, time.monotonic(), 0.0
        while True:
            read, pixels = self._capture.read()
            if not read:
                break
            shown = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if isinstance(self._source, int):
                seconds = time.monotonic() - start
            elif number == 0:
                zero = shown
            elif not self._timed or shown == 0:
                seconds = max(seconds, number / self.rate)
            elif -1 < shown - zero - seconds < max(_LONGEST_PAUSE, 2 / self.rate):
                seconds = max(seconds, shown - zero)
            else:  # a broken or concatenated file
                seconds += 1 / self.rate
                zero = shown - seconds
            yield Frame(number, seconds, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            number += 1
        if isinstance(self._source, int):
            log.warning("Camera %d sends no more pictures: stopping after %d frames.", self._source, number)
        elif (
            self.expected
            and number < 0.98 * self.expected - 1
            and seconds + (1 / self.rate if self._regular else 1) < 0.98 * self.length
        ):
            self.length = 0.0
            self.broken = f"breaks off: {number} of {self.expected} frames could be read."
            log.warning("%s %s", printable(self._source), self.broken)

    def close(self) -> None:
        """Closes the file or the camera."""
        self._capture.release()
        self._folder.cleanup()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
