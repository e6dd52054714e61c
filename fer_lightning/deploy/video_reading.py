"""Expressions over the frames of a video: faces are followed, numbered, and their probabilities smoothed."""

from __future__ import annotations

import numpy as np

from fer_lightning.deploy.face_finder import Face
from fer_lightning.deploy.prediction import Prediction, predict
from fer_lightning.deploy.predictor import Predictor
from fer_lightning.deploy.smoothing import Smoother
from fer_lightning.deploy.tracks import Tracker

# In every third frame new faces are looked for in one of seven places of a 640 x 480 picture: at 30 frames/s all have
# had their turn after 0.7 s, and a frame takes little longer than following those that are known.
_GLANCE_EVERY = 3


class VideoReading:
    """Reads the frames of one video, in their order.

    Args:
        predictor: Finds and classifies faces; a quick one where frames must not wait.
        time_constant: Of the smoothing, in seconds; see `Smoother`.
    """

    def __init__(self, predictor: Predictor, time_constant: float) -> None:
        self._predictor = predictor
        self._tracker = Tracker()
        self._smoother = Smoother(time_constant)
        self._faces: list[Face] = []
        self._frame = -1

    def read(self, picture: np.ndarray, seconds: float) -> list[Prediction]:
        """Reads every face of the next frame.

        Args:
            picture: RGB, uint8 `(H, W, 3)`.
            seconds: When the frame is shown, not earlier than the one before.

        Returns:
            What was read, with tracks, the largest face first.
        """
        self._faces = self._find(picture)[: self._predictor.max_faces]
        crops, probabilities = self._predictor.classify(picture, self._faces)
        tracks = self._tracker.update([face.box for face in self._faces], seconds)
        return [
            predict(
                face.box,
                self._smoother.smooth(track, row, seconds),
                self._predictor.classes,
                self._predictor.threshold,
                crop,
                track,
            )
            for face, track, row, crop in zip(self._faces, tracks, probabilities, crops)
        ]

    def _find(self, picture: np.ndarray) -> list[Face]:
        self._frame += 1
        turn, left = divmod(self._frame, _GLANCE_EVERY)
        finder = self._predictor.finder
        followed = finder.follow(picture, self._faces, None if left else turn)
        return followed or finder.find(picture)
