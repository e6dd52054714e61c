"""Classification of faces by PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from fer_lightning.inference.card import card_of
from fer_lightning.deploy.normalisation import normalise
from fer_lightning.training.checkpoints import TrainedNet


class TorchClassifier:
    """A trained network behind the interface `FaceClassifier`.

    Args:
        trained: The network; it takes images alone.
        source: Where it came from, as the user named it.
        threads: Of PyTorch, in the whole process; None leaves them as they are.

    Attributes:
        trained: The network.
    """

    backend = "torch"
    precision = "float32"

    def __init__(self, trained: TrainedNet, source: str, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.classes = trained.classes
        self.preprocessing = trained.description["preprocessing"]
        self.card = card_of(trained, source)
        self.trained = trained

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        if not len(faces):
            return np.zeros((0, len(self.classes)), np.float32)
        with torch.inference_mode():
            logits = self.trained.net(torch.from_numpy(normalise(faces, self.preprocessing)))
        return (logits.float() / self.card["temperature"]).softmax(dim=1).numpy()
