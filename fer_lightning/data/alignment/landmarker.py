"""Finds the face of a picture: 68 points and 52 expression coefficients from MediaPipe's FaceLandmarker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from fer_lightning.data.alignment.landmarks import FROM_MEDIAPIPE
from fer_lightning.data.alignment.mediapipe_task import open_task

# On real 48-pixel faces, MediaPipe's own 0.5 without padding misses twice as many.
MIN_CONFIDENCE = 0.3
# Smaller pictures are enlarged to this; 256 finds no more faces in pictures of 48 pixels.
WORKING_SIZE = 192
# The face fills the pictures of most datasets: of 300 real 48-pixel faces, 94.7 % were found with a border
# of this share that repeats the edge, 91.7 % without one, 96.0 % with the second look where the first found nothing.
PADDINGS = (0.25, 0.0)
# MediaPipe returns the most certain faces first; the largest of these many is taken.
MAX_FACES = 5


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
        model_file: A verified `face_landmarker.task`, see `model_file.find_model_file`.

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
