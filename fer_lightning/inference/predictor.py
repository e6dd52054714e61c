"""Prediction of the expressions in a photo, in three lines.

from fer_lightning import Predictor
predictor = Predictor("ferplus")
print(predictor("photo.jpg"))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from fer_lightning.inference.classifier import open_classifier
from fer_lightning.inference.face_detector import Face, FaceFinder, crop_faces
from fer_lightning.inference.images import read_picture, to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

UNCERTAIN = "uncertain"  # label where no class reaches the threshold


class Predictor:
    """Detector of faces and classifier of their expressions; a context manager.

    Args:
        model: Net that ships with the package (`"ferplus"`: 8 classes, `"fer2013"`: 7), run folder, or `.ckpt`,
            `.safetensors` or `.onnx` file.
        backend: See `open_classifier`.
        max_faces: Maximum number of faces of a picture, the largest first.
        threshold: Probability below which the label is `"uncertain"`.
        min_face: Minimum width of a face in pixels.
        thorough: Whether small and rotated faces are searched for as well, in tenths of a second a picture; without it,
            in milliseconds, a face must be a fifth as wide as the picture.
        threads: Number of threads of the net; None leaves the choice to the backend.

    Raises:
        UserError: The net or MediaPipe is missing.
    """

    def __init__(
        self,
        model: str = "ferplus",
        backend: str = "auto",
        max_faces: int = 20,
        threshold: float = 0.0,
        min_face: float = 0.0,
        thorough: bool = True,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.max_faces = max_faces
        self.threshold = threshold
        self.classifier = open_classifier(model, backend, threads)
        self.finder = FaceFinder(thorough, min_face)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.classifier.classes

    def __call__(self, image: str | Path | np.ndarray | Image) -> list[Prediction]:
        """Predicts the expression of every face of a picture.

        Args:
            image: File, PIL image, or array `(H, W)`, `(H, W, 3)` RGB or `(H, W, 4)` RGBA: 8 or 16 bits, or
                floats in 0..1.

        Returns:
            Predictions, the largest face first; empty where there is no face.

        Raises:
            UserError: The file is missing or not a picture, or the array is of another kind.
        """
        picture = read_picture(Path(image)) if isinstance(image, (str, Path)) else to_rgb(image)
        faces = self.finder.find(picture)[: self.max_faces]
        crops, probabilities = self.classify(picture, faces)
        return [
            predict(face.box, row, self.classes, self.threshold, crop)
            for face, row, crop in zip(faces, probabilities, crops)
        ]

    def classify(self, picture: np.ndarray, faces: Sequence[Face]) -> tuple[np.ndarray, np.ndarray]:
        """Crops and class probabilities of detected faces.

        Args:
            picture: RGB, uint8 `(H, W, 3)`.
            faces: N faces of the picture.

        Returns:
            uint8 `(N, S, S, C)` and float32 `(N, K)`.
        """
        crops = crop_faces(picture, faces, self.classifier.preprocessing)
        return crops, self.classifier.probabilities(crops)

    def close(self) -> None:
        """Frees the face detector."""
        self.finder.close()

    def __repr__(self) -> str:
        return f"Predictor({self.model!r}, {self.classifier.backend}, classes: {', '.join(self.classes)})"

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Prediction:
    """A face with its expression.

    Attributes:
        box: x and y of the upper left corner, width and height, in pixels of the picture.
        label: Most probable class, or `UNCERTAIN`.
        confidence: Largest probability.
        probabilities: Probability of every class, by name.
        face: Crop that was classified, uint8 `(S, S, C)`.
        track: Number of the person in a video; None in a photo.
        low_resolution: Whether the face has fewer pixels in the picture than the input of the network.
    """

    box: tuple[float, float, float, float]
    label: str
    confidence: float
    probabilities: dict[str, float] = field(repr=False)
    face: np.ndarray = field(repr=False, compare=False)
    track: int | None = None
    low_resolution: bool = False

    def __repr__(self) -> str:
        x, y, width, height = (round(number) for number in self.box)
        person = "" if self.track is None else f", track {self.track}"
        return f"Prediction({self.label} {self.confidence:.1%} at x={x} y={y}, {width}x{height} pixels{person})"


def predict(
    box: tuple[float, float, float, float],
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    threshold: float,
    face: np.ndarray,
    track: int | None = None,
) -> Prediction:
    """Prediction of a face from its probabilities `(K,)`; the label is `UNCERTAIN` below `threshold`."""
    best = int(np.argmax(probabilities))
    confidence = float(probabilities[best])
    return Prediction(
        box=box,
        label=classes[best] if confidence >= threshold else UNCERTAIN,
        confidence=confidence,
        probabilities={name: float(value) for name, value in zip(classes, probabilities)},
        face=face,
        track=track,
        low_resolution=min(box[2:]) < len(face),
    )
