"""Reproducible experiments in facial-expression recognition.

A training without Hydra:

```python
import pytorch_lightning as pl

from fer_lightning.data import Synthetic
from fer_lightning.evaluation import Inference, predict_split, score
from fer_lightning.models import PsySFANet
from fer_lightning.training import BestCheckpoint, ExpressionClassifier, load_net

faces = Synthetic(size=6000)  # or FER2013(root="/data/fer2013")
trainer = pl.Trainer(max_epochs=10, callbacks=[BestCheckpoint("checkpoints")])
trainer.fit(ExpressionClassifier(PsySFANet(num_classes=7)), datamodule=faces)

best = load_net("checkpoints/best.ckpt")
predictions = predict_split(trainer, Inference(best.net), faces, "test", best.classes)
print(score(predictions, best.classes)["accuracy"])
```
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_lightning.inference.predictor import Predictor

__all__ = ["Predictor", "__version__"]

# On import, albumentations checks for a newer version and ONNX Runtime sends telemetry.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imports `Predictor`, which needs torch and MediaPipe, on first access."""
    if name == "Predictor":
        from fer_lightning.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
