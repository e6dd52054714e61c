"""Expressions over the frames of a video: faces are followed, numbered, and their probabilities smoothed."""

from __future__ import annotations

import numpy as np

from fer_lightning.inference.face_detector import Face
from fer_lightning.deploy.prediction import Prediction, predict
from fer_lightning.inference.predictor import Predictor
from fer_lightning.deploy.smoothing import Smoother
from fer_lightning.inference.tracking import Tracker

# Ten times a second new faces are looked for in one of seven places of a 640 x 480 picture: all have had their turn
# after 0.7 s, and at 30 frames/s a frame takes little longer than following those that are known.
_GLANCES = 10
_MOST_GLANCES = 16  # in one frame, of a video with few frames a second


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
        self._glances = -1

    def read(self, picture: np.ndarray, seconds: float) -> list[Prediction]:
        """Reads every face of the next frame.

        Args:
            picture: RGB, uint8 `(H, W, 3)`.
            seconds: When the frame is shown, not earlier than the one before.

        Returns:
            What was read, with tracks, the largest face first.
        """
        self._faces = self._find(picture, seconds)[: self._predictor.max_faces]
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

    def _find(self, picture: np.ndarray, seconds: float) -> list[Face]:
        before, self._glances = self._glances, int(seconds * _GLANCES + 1e-6)
        due = range(max(before + 1, self._glances + 1 - _MOST_GLANCES), self._glances + 1)
        finder = self._predictor.finder
        # Where frames are far apart, faces are no longer where they were: the whole picture is looked at as well.
        followed = finder.follow(picture, self._faces, [0, *due] if len(due) > 1 else due)
        return followed or finder.find(picture)
