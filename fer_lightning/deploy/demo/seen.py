"""What the page remembers of a visitor's picture, until the next one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lightning.deploy.prediction import Prediction


@dataclass(frozen=True)
class Seen:
    """A picture and what was read in it.

    Attributes:
        source: The net that read it.
        picture: RGB, uint8 `(H, W, 3)`.
        predictions: Its faces, the largest first; not empty.
        chosen: Index of the one that is looked at.
    """

    source: str
    picture: np.ndarray
    predictions: list[Prediction]
    chosen: int = 0

    @property
    def face(self) -> Prediction:
        """The face that is looked at."""
        return self.predictions[self.chosen]

    @property
    def most_probable(self) -> str:
        """Class of the face that is looked at; its label may say that none is probable enough."""
        probabilities = self.face.probabilities
        return max(probabilities, key=lambda name: probabilities[name])

    def face_at(self, x: float, y: float) -> int:
        """Index of the smallest face around a place, in pixels; of the one that is looked at where there is none."""
        around = [
            (box[2] * box[3], index)
            for index, box in enumerate(prediction.box for prediction in self.predictions)
            if 0 <= x - box[0] <= box[2] and 0 <= y - box[1] <= box[3]
        ]
        return min(around)[1] if around else self.chosen
