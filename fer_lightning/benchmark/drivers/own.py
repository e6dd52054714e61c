"""Timed program of this project.

Arguments: the network and the backend, as for `Predictor`; then `follow` to process the frames as a video.
"""

from __future__ import annotations

import sys
from itertools import count
from time import perf_counter

import cv2
import numpy as np

from fer_lightning import __version__
from fer_lightning.benchmark.drivers.serving import Timed, serve
from fer_lightning.inference.face_detector import crop_faces
from fer_lightning.inference.predictor import Predictor
from fer_lightning.inference.tracking import VideoReading

_FRAMES_PER_SECOND = 30
_SMOOTHING = 0.3  # seconds, the default of fer predict


def load(threads: int) -> Timed:
    """Predictor that detects the face in the whole frame: in every frame, or near its last place."""
    cv2.setNumThreads(threads)
    source, backend, *follow = sys.argv[1:]
    predictor = Predictor(source, backend, max_faces=1, thorough=False, threads=threads)
    classifier, finder = predictor.classifier, predictor.finder

    settings = f"BlazeFace, {classifier.card['model']}, {classifier.backend} {classifier.precision}"
    if follow:
        reading, frames = VideoReading(predictor, _SMOOTHING), count()

        def read(frame: np.ndarray) -> str | None:
            faces = reading.read(frame, next(frames) / _FRAMES_PER_SECOND)
            return faces[0].label if faces else None

        return Timed("fer_lightning", __version__, f"{settings}, following faces", read)

    def look(frame: np.ndarray) -> str | None:
        faces = predictor(frame)
        return faces[0].label if faces else None

    def stages(frame: np.ndarray) -> dict[str, float]:
        moments = [perf_counter()]
        faces = finder.find(frame)[:1]
        moments.append(perf_counter())
        crops = crop_faces(frame, faces, classifier.preprocessing)
        moments.append(perf_counter())
        classifier.probabilities(crops)
        moments.append(perf_counter())
        return dict(zip(("detect", "align", "classify"), (1000 * np.diff(moments)).tolist()))

    return Timed("fer_lightning", __version__, settings, look, stages=stages)


if __name__ == "__main__":
    serve(load)
