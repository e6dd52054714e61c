"""The PyPI package `fer`, timed in an environment of its own."""

from __future__ import annotations

from importlib.metadata import version

from serving import Timed, serve  # beside this file, which runs as a program


def load(threads: int) -> Timed:
    """`FER` with its defaults: OpenCV's Haar cascade and TFLite, the fastest that it has."""
    import cv2
    from fer.fer import FER

    cv2.setNumThreads(threads)
    detector = FER()

    def look(frame):
        found = detector.detect_emotions(frame)
        if not found:
            return None
        emotions = max(found, key=lambda face: face["box"][2] * face["box"][3])["emotions"]
        return max(emotions, key=emotions.get)

    # It takes frames as OpenCV reads them.
    return Timed("fer", version("fer"), "Haar cascade, TFLite", look, prepare=lambda rgb: rgb[:, :, ::-1].copy())


if __name__ == "__main__":
    serve(load)
