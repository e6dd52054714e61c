"""One way to open a trained network for use, whatever file it lies in and whichever program computes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from fer_lightning.errors import UserError, require_known
from fer_lightning.inference.card import card_of
from fer_lightning.training.checkpoints import TrainedNet

BACKENDS = ("auto", "torch", "onnxruntime")


class FaceClassifier(Protocol):
    """Tells the expression of faces.

    Attributes:
        classes: The K class names, in the order of the probabilities.
        preprocessing: `image_size` S, `channels` C, `mean`, `std`, `align` and `side` of the training.
        card: See `card_of`.
        backend: `"torch"` or `"onnxruntime"`.
        precision: In which it computes: `"float32"` or `"int8"`.
    """

    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    card: dict[str, Any]
    backend: str
    precision: str

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Class probabilities, with the temperature of the card.

        Args:
            faces: uint8 `(N, S, S, C)`; N may be 0.

        Returns:
            float32 `(N, K)`; each row sums to 1.
        """
        ...


def open_classifier(source: str, backend: str = "auto", threads: int | None = None) -> FaceClassifier:
    """Opens a trained network for use on the CPU.

    Args:
        source: A run folder, a `.ckpt`, `.safetensors` or `.onnx` file, or the name of a network that ships with the
            package.
        backend: `"torch"`, `"onnxruntime"` (which takes `.onnx` alone), or `"auto"`: what fits the file.
        threads: With which one call computes; None leaves the choice to the backend.

    Raises:
        UserError: There is no such file, it is none of this project, the backend does not fit it, or the network needs
            more than the image.
    """
    require_known("backend", backend, BACKENDS)
    if threads is not None and threads < 1:
        raise UserError(f"threads={threads} is too small: use 1 or more, or null for the backend's own choice.")
    is_onnx = Path(source).suffix == ".onnx"
    if is_onnx and backend == "torch":
        raise UserError(f"backend=torch cannot compute {source}: use backend=onnxruntime, or the run it was made from.")
    if not is_onnx and backend == "onnxruntime":
        raise UserError(
            f"backend=onnxruntime computes .onnx files, and {source} is none: make one with "
            f"fer export checkpoint={source} format=onnx."
        )
    opened: FaceClassifier
    # Either library takes seconds to import.
    if is_onnx:
        from fer_lightning.inference.onnx_classifier import OnnxClassifier

        opened = OnnxClassifier(Path(source), threads)
    else:
        from fer_lightning.training.checkpoints import load_net

        opened = TorchClassifier(load_net(Path(source)), source, threads)
    side = opened.preprocessing["side"]
    if side != "none":
        raise UserError(f"{source} needs {side} besides the image, which prediction does not provide: use another net.")
    return opened


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


def normalise(faces: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Brings faces into the range of a network.

    Args:
        faces: uint8 `(N, S, S, C)`.
        preprocessing: `image_size` S, `channels` C, and `mean` and `std` of pixel values in 0..1, one value or one a
            channel.

    Returns:
        float32 `(N, C, S, S)`, contiguous.

    Raises:
        ValueError: The faces have another shape or type.
    """
    size, channels = preprocessing["image_size"], preprocessing["channels"]
    if faces.dtype != np.uint8 or faces.shape[1:] != (size, size, channels):
        raise ValueError(f"faces are {faces.dtype} {faces.shape}: the net takes uint8 (N, {size}, {size}, {channels}).")
    mean, std = (255 * np.asarray(preprocessing[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    return np.ascontiguousarray((faces.transpose(0, 3, 1, 2) - mean) / std, np.float32)
