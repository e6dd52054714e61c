"""Facial expression recognition experiments whose numbers can be trusted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_lightning.inference.predictor import Predictor

__all__ = ["Predictor", "__version__"]

# Both call home when they are imported: albumentations for its newest version, ONNX Runtime with telemetry.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imports `Predictor`, which needs torch and MediaPipe, where it is asked for."""
    if name == "Predictor":
        from fer_lightning.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
