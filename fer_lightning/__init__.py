"""Reproducible experiments in facial-expression recognition.

- `FER2013`, `FERPlus`, `RAFDB`, `AffectNet`, `CKPlus`, `Folder`: data sets
- `Synthetic`: synthetic faces, drawn when they are first needed
- `create_model`, `list_models`: networks by name
- `PsySFANet`, `HAFEM`, `ResNet`: three of the networks
- `ExpressionClassifier`: LightningModule around any network
- `load`: trained network with its classes and preprocessing
- `Predictor`: finds the faces of pictures and classifies their expressions
- `compare`: compares finished runs in pairs, image by image

The rooms, such as `fer_lightning.losses` and `fer_lightning.training`, list the rest. In Python:

```python
import pytorch_lightning as pl

from fer_lightning import ExpressionClassifier, Predictor, ResNet, Synthetic, compare, load
from fer_lightning.training import BestCheckpoint

faces = Synthetic(size=6000)  # or FER2013(root="data/fer2013")
trainer = pl.Trainer(max_epochs=10, callbacks=[BestCheckpoint("checkpoints")])
trainer.fit(ExpressionClassifier(ResNet(num_classes=7), lr=1e-3), faces)
trainer.test(datamodule=faces, ckpt_path="best")

net = load("checkpoints/best.ckpt")  # or "ferplus": an nn.Module with its classes and preprocessing
table = Predictor("ferplus")(["astronaut.png", "nobody.png"]).to_frame()  # one row a face
tests = compare("outputs/two/0", "outputs/two/1")  # later minus first: paired bootstrap, McNemar's test
```
"""

from __future__ import annotations

import os

import lazy_loader

# On import, albumentations checks for a newer version and ONNX Runtime sends telemetry.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        extra = "fer_lightning[predict]' or 'fer_lightning[train]" if name == "Predictor" else "fer_lightning[train]"
        raise ImportError(f"fer_lightning.{name} needs {error.name}: pip install '{extra}'.") from error
