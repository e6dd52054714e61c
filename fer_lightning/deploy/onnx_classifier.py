"""Classification of faces by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import softmax

from fer_lightning.deploy.normalisation import normalise
from fer_lightning.inference.onnx_classifier import check_logits, open_session, read_metadata


class OnnxClassifier:
    """An ONNX file of `fer export` behind the interface `FaceClassifier`.

    Args:
        path: The file; its network takes images alone.
        threads: With which one call computes; None for all cores.

    Raises:
        UserError: There is no such file, or it was not made by `fer export`.
    """

    backend = "onnxruntime"

    def __init__(self, path: Path, threads: int | None) -> None:
        self.session = open_session(path, threads)
        metadata = read_metadata(self.session, path)
        if metadata["preprocessing"]["side"] == "none":
            check_logits(self.session, metadata, path)
        self.classes = tuple(metadata["classes"])
        self.preprocessing = metadata["preprocessing"]
        self.card = {**metadata["card"], "source": str(path)}
        self.precision = metadata["precision"]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        if not len(faces):
            return np.zeros((0, len(self.classes)), np.float32)
        (logits,) = self.session.run(["logits"], {"image": normalise(faces, self.preprocessing)})
        return softmax(logits / np.float32(self.card["temperature"]), axis=1)
