"""A net as the page shows it: what it reads in faces, where it looks, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from fer_lightning.deploy.normalisation import normalise
from fer_lightning.deploy.prediction import Prediction
from fer_lightning.inference.predictor import Predictor
from fer_lightning.deploy.torch_classifier import TorchClassifier
from fer_lightning.explain.gradcam import gradcam
from fer_lightning.explain.overlay import overlay

_SHOWN_SIDE = 336  # pixels: faces of 48 are shown larger


class ShownNet:
    """A trained network with everything that the page asks of it.

    Args:
        source: As `open_classifier` takes it.
        max_faces: How many faces of a picture are read, the largest first.

    Raises:
        UserError: It cannot be opened.

    Attributes:
        classifier: See `open_classifier`.
        record: The record of its training; empty where none came with it.
    """

    def __init__(self, source: str, max_faces: int) -> None:
        self._predictor = Predictor(source, max_faces=max_faces)
        self.classifier = self._predictor.classifier
        # An .onnx file cannot be differentiated.
        self._trained = self.classifier.trained if isinstance(self.classifier, TorchClassifier) else None
        self.record: Mapping[str, Any] = {} if self._trained is None else self._trained.record

    def read(self, picture: np.ndarray) -> list[Prediction]:
        """The faces of a picture uint8 `(H, W, 3)`, the largest first."""
        return self._predictor(picture)

    def where_it_looks(self, face: np.ndarray, label: str) -> np.ndarray | None:
        """What in a face speaks for a class.

        Args:
            face: uint8 `(S, S, C)`, of a `Prediction`.
            label: The class.

        Returns:
            The face under its Grad-CAM, uint8 `(E, E, 3)`; None for a network that cannot be differentiated.
        """
        if self._trained is None:
            return None
        image = torch.from_numpy(normalise(face[None], self.classifier.preprocessing))
        heat = gradcam(self._trained.net, image, torch.tensor([self.classifier.classes.index(label)]))[0]
        smooth = Image.fromarray(heat).resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BICUBIC)
        return overlay(enlarge(face), np.asarray(smooth).clip(0, 1))


def enlarge(face: np.ndarray) -> np.ndarray:
    """A face uint8 `(S, S, C)` as large as the page shows it, `(E, E, 3)`."""
    pixels = Image.fromarray(face[..., 0] if face.shape[2] == 1 else face).convert("RGB")
    return np.asarray(pixels.resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BICUBIC))
