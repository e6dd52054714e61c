"""Timed program of the PyPI package `fer`, which runs in its own environment."""

from __future__ import annotations

from importlib.metadata import version

from serving import Timed, serve  # beside this file, which runs as a program


def load(threads: int) -> Timed:
    """`FER` with its defaults, which are its fastest ones: OpenCV's Haar cascade and TFLite."""
    import cv2
    from fer.fer import FER

    cv2.setNumThreads(threads)
    detector = FER()

    def look(frame):
        faces = detector.detect_emotions(frame)
        if not faces:
            return None
        emotions = max(faces, key=lambda face: face["box"][2] * face["box"][3])["emotions"]
        return max(emotions, key=emotions.get)

    # It expects BGR, the order of OpenCV.
    return Timed("fer", version("fer"), "Haar cascade, TFLite", look, prepare=lambda rgb: rgb[:, :, ::-1].copy())


if __name__ == "__main__":
    serve(load)
