"""The frames that every contestant of a benchmark is shown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fer_lightning.inference.images import read_picture
from fer_lightning.errors import UserError

WIDTH, HEIGHT = 640, 480
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


def astronaut_frames(count: int) -> list[np.ndarray]:
    """Frames as a camera gives them of one person who moves: scikit-image's picture of Eileen Collins (NASA).

    Args:
        count: Number of frames; from one to the next the face moves to the left and comes closer.

    Returns:
        uint8 RGB `(480, 640, 3)` each; the face is about 130 to 170 pixels high.

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        from skimage.data import astronaut
    except ImportError:
        raise UserError(
            "frames=null needs the picture that comes with scikit-image: pip install scikit-image, or give a photo or "
            "a video with frames=<file>."
        ) from None
    picture = astronaut()
    return [_moved(picture, place) for place in np.linspace(0, 1, count)]


def _moved(picture: np.ndarray, place: float) -> np.ndarray:
    scale = 1.25 + 0.35 * place  # at the smaller one the picture is as wide as the frame
    shift = np.array([(picture.shape[1] * scale - WIDTH) * place, 10 * place])
    move = np.array([[scale, 0, -shift[0]], [0, scale, -shift[1]]])
    return cv2.warpAffine(picture, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def read_frames(path: Path, count: int) -> list[np.ndarray]:
    """Frames of the user: a photo, the photos of a folder, or a video.

    Args:
        path: The file or folder.
        count: How many of them at most, the first ones.

    Returns:
        uint8 RGB `(480, 640, 3)` each, see `fit_frame`.

    Raises:
        UserError: It is nothing of all that.
    """
    if path.is_dir():
        pictures = [read_picture(file) for file in sorted(path.iterdir())[:count]]
    else:
        pictures = _video(path, count) or [read_picture(path)]
    if not pictures:
        raise UserError(f"frames={path} is an empty folder: give a photo, a folder of photos, or a video.")
    return [fit_frame(picture) for picture in pictures]


def _video(path: Path, count: int) -> list[np.ndarray]:
    """The first frames of a video; none where the file is none, by its name or its content."""
    if path.suffix.lower() not in VIDEOS:
        return []
    video = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while len(frames) < count:
        whole, frame = video.read()
        if not whole:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    video.release()
    return frames


def fit_frame(picture: np.ndarray) -> np.ndarray:
    """Brings a picture to the size of a frame: scaled to fit, centred, black around it.

    Args:
        picture: uint8 RGB `(H, W, 3)`.

    Returns:
        uint8 RGB `(480, 640, 3)`.
    """
    height, width = picture.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    top, left = (HEIGHT - size[1]) // 2, (WIDTH - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = fitted
    return frame


def write_frames(frames: list[np.ndarray], folder: Path) -> list[Path]:
    """Writes frames as raw RGB bytes, which every language reads without a decoder.

    Returns:
        The files, in the order of the frames.
    """
    paths = [folder / f"{number:03d}.rgb" for number in range(len(frames))]
    for path, frame in zip(paths, frames):
        frame.tofile(path)
    return paths
