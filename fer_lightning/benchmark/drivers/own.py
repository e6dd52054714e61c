"""This project's way from frame to label, timed.

Arguments: the network and the backend, as `Predictor` takes them; then `follow` to read the frames as a video.
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
_SMOOTHING = 0.3  # seconds, as fer predict


def load(threads: int) -> Timed:
    """Looks for a face at the whole frame alone: in every frame anew, or near where it was."""
    cv2.setNumThreads(threads)
    source, backend, *follow = sys.argv[1:]
    predictor = Predictor(source, backend, max_faces=1, thorough=False, threads=threads)
    classifier, finder = predictor.classifier, predictor.finder

    settings = f"BlazeFace, {classifier.card['model']}, {classifier.backend} {classifier.precision}"
    if follow:
        reading, frames = VideoReading(predictor, _SMOOTHING), count()

        def read(frame: np.ndarray) -> str | None:
            found = reading.read(frame, next(frames) / _FRAMES_PER_SECOND)
            return found[0].label if found else None

        return Timed("fer_lightning", __version__, f"{settings}, following faces", read)

    def look(frame: np.ndarray) -> str | None:
        found = predictor(frame)
        return found[0].label if found else None

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
