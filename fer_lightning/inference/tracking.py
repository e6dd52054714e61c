"""Tracking of faces over the frames of a video, and smoothing of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from fer_lightning.inference.classifier import DetectedFaces
from fer_lightning.inference.face_detector import Face
from fer_lightning.inference.predictions import Prediction, Predictions, predict
from fer_lightning.inference.video import Frame

if TYPE_CHECKING:
    from fer_lightning.inference.predictor import Predictor

Box = tuple[float, float, float, float]
_FARTHEST = 2.0  # widths of a face
# Ten times a second, new faces are searched for in one of seven places of a 640 x 480 picture: all are searched after
# 0.7 s, and at 30 frames/s a frame takes little longer than following known faces.
_GLANCES = 10
_MOST_GLANCES = 16  # in one frame, of a video with few frames a second


@dataclass
class _Track:
    number: int
    box: Box
    seconds: float


class Tracker:
    """Assignment of the same number to faces that overlap from one frame to the next.

    The faces of a frame are matched with those before so that the sum of overlaps is maximal (A. Bewley et al., "Simple
    Online and Realtime Tracking", ICIP 2016, without its motion model). At low frame rates, boxes of a moving person
    overlap too little; there, faces match within the distance that a face can move in this time.

    Args:
        min_iou: Overlap below which boxes match only by their distance.
        max_gap: Seconds for which a person who is not seen keeps the number; longer where all frames are further apart.
        speed: Maximum speed of a face in its widths per second, at most `_FARTHEST` between two frames.
    """

    def __init__(self, min_iou: float = 0.2, max_gap: float = 1.0, speed: float = 6.0) -> None:
        self.min_iou = min_iou
        self.max_gap = max_gap
        self.speed = speed
        self._tracks: list[_Track] = []
        self._next = 1
        self._before: float | None = None
        self._shortest = math.inf  # seconds from one frame to the next

    def update(self, boxes: Sequence[Box], seconds: float) -> list[int]:
        """Numbers, from 1, of the faces of the next frame, which is not earlier than the frame before."""
        if self._before is not None and seconds > self._before:
            self._shortest = min(self._shortest, seconds - self._before)
        self._before = seconds
        gap = max(self.max_gap, 1.5 * self._shortest) if self._shortest < math.inf else self.max_gap
        self._tracks = [track for track in self._tracks if seconds - track.seconds <= gap]
        overlaps = pairwise_iou([track.box for track in self._tracks], boxes)
        # Below every pair that overlaps; 0 where it is too far.
        reach = self.speed * np.array([seconds - track.seconds for track in self._tracks]).reshape(-1, 1)
        far = _distances([track.box for track in self._tracks], boxes)
        near = self.min_iou * (1 - far / np.minimum(reach, _FARTHEST).clip(1e-9)).clip(0)
        overlaps = np.where(overlaps < self.min_iou, near, overlaps)
        known: dict[int, _Track] = {}
        for row, column in zip(*linear_sum_assignment(overlaps, maximize=True)):
            if overlaps[row, column] > 0:
                known[int(column)] = self._tracks[row]
        return [self._continued(known.get(index), box, seconds).number for index, box in enumerate(boxes)]

    def _continued(self, track: _Track | None, box: Box, seconds: float) -> _Track:
        if track is None:
            track = _Track(self._next, box, seconds)
            self._next += 1
            self._tracks.append(track)
        track.box, track.seconds = box, seconds
        return track


def _distances(first: Sequence[Box], second: Sequence[Box]) -> np.ndarray:
    """Distances `(N, M)` between the centres of boxes, in widths of the larger one of both."""
    one = np.array(first, np.float64).reshape(-1, 1, 4)
    other = np.array(second, np.float64).reshape(1, -1, 4)
    apart = np.linalg.norm(one[..., :2] + one[..., 2:] / 2 - other[..., :2] - other[..., 2:] / 2, axis=-1)
    return apart / np.maximum(np.maximum(one[..., 2], other[..., 2]), 1e-9)


def pairwise_iou(first: Sequence[Box], second: Sequence[Box]) -> np.ndarray:
    """Intersection over union `(N, M)` of every box of one list with every box of another."""
    one = np.array(first, np.float64).reshape(-1, 1, 4)
    other = np.array(second, np.float64).reshape(1, -1, 4)
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., :2] + one[..., 2:], other[..., :2] + other[..., 2:])
    shared = (high - low).clip(0).prod(-1)
    union = one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - shared
    return shared / np.maximum(union, 1e-9)


class VideoReading:
    """Predictions for the frames of one video, in their order.

    Args:
        predictor: Predictor of single frames, with `thorough=False` for live video.
        time_constant: Time constant of the smoothing in seconds, see `Smoother`.
    """

    def __init__(self, predictor: Predictor, time_constant: float) -> None:
        self._predictor = predictor
        self._tracker = Tracker()
        self._smoother = Smoother(time_constant)
        self._faces: list[Face] = []
        self._glances = -1

    def read(self, picture: np.ndarray, seconds: float) -> list[Prediction]:
        """Predictions, with tracks, of the faces of the next frame, RGB uint8 `(H, W, 3)`, the largest first."""
        [(_, predictions)] = self.read_all(iter([Frame(0, seconds, picture)]), "", is_live=True)
        return predictions

    def read_all(
        self, frames: Iterator[Frame], source: str, is_live: bool
    ) -> Generator[tuple[Frame, Predictions], None, None]:
        """Yields the next frames with the predictions of their faces, which are followed and averaged in their order.

        Args:
            frames: Frames, read ahead by another thread unless they are live.
            source: Name of the video.
            is_live: Whether every frame is predicted before the next one is read; otherwise the faces of several frames
                are classified in one pass, while those of the next ones are detected.
        """
        predictor = self._predictor

        def detect(frame: Frame) -> DetectedFaces:
            self._faces = self._find(frame.pixels, frame.seconds)[: predictor.max_faces]
            return predictor.crop(frame, frame.pixels, self._faces)

        for seen in predictor.classify_ahead(repeat(frames), lambda frames: next(frames, None), detect, is_live):
            frame: Frame = seen.source
            tracks = self._tracker.update([face.box for face in seen.faces], frame.seconds)
            predictions = [
                predict(
                    face.box,
                    self._smoother.smooth(track, row, frame.seconds),
                    predictor.classes,
                    predictor.threshold,
                    crop,
                    track,
                )
                for face, track, row, crop in zip(seen.faces, tracks, seen.outputs, seen.crops)
            ]
            yield frame, Predictions(predictions, source, predictor.classes, "", frame.number, frame.seconds)

    def _find(self, picture: np.ndarray, seconds: float) -> list[Face]:
        before, self._glances = self._glances, int(seconds * _GLANCES + 1e-6)
        due = range(max(before + 1, self._glances + 1 - _MOST_GLANCES), self._glances + 1)
        finder = self._predictor.finder
        # Where frames are far apart, faces have moved: the whole picture is searched as well.
        followed = finder.follow(picture, self._faces, [0, *due] if len(due) > 1 else due)
        return followed or finder.find(picture)


class Smoother:
    """Exponential moving average of the outputs for each person, independent of the frame rate.

    The response to a step after t seconds is `1 - exp(-t / time_constant)`.

    Args:
        time_constant: Time constant in seconds; 0 disables the smoothing.
    """

    def __init__(self, time_constant: float) -> None:
        self.time_constant = time_constant
        self._last: dict[int, tuple[float, np.ndarray]] = {}

    def smooth(self, track: int, outputs: np.ndarray, seconds: float) -> np.ndarray:
        """Smoothed outputs `(K,)` or `(K + 2,)` of a person, from those of this frame (`FaceClassifier.classify`)."""
        if track in self._last and self.time_constant > 0:
            before, average = self._last[track]
            kept = math.exp(-(seconds - before) / self.time_constant)
            outputs = kept * average + (1 - kept) * outputs
        self._last[track] = (seconds, outputs)
        # A long video has thousands of tracks: those that ended long ago have no weight in the average.
        ended = [other for other, (last, _) in self._last.items() if seconds - last > 40 * self.time_constant]
        for other in ended:
            del self._last[other]
        return outputs
