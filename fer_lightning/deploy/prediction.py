"""What is read in one face."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# Where no class is probable enough.
UNCERTAIN = "uncertain"


@dataclass(frozen=True)
class Prediction:
    """A face with its expression.

    Attributes:
        box: x and y of the upper left corner, width and height, in pixels of the picture.
        label: The most probable class, or `UNCERTAIN`.
        confidence: Its probability, or the largest one.
        probabilities: Of every class, by name.
        face: The crop that was classified, uint8 `(S, S, C)`.
        track: Number of the person in a video; None in a photo.
        low_resolution: Whether the face has fewer pixels in the picture than the network looks at.
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
    """Names what is most probable.

    Args:
        box: See `Prediction`.
        probabilities: `(K,)`.
        classes: The K class names.
        threshold: Where the largest probability is smaller, the label is `UNCERTAIN`.
        face: See `Prediction`.
        track: See `Prediction`.
    """
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
