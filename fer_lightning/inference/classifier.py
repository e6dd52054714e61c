"""Classifiers of faces: one interface to trained networks in any file format, on any backend."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fer_lightning.errors import UserError, require_known
from fer_lightning.inference.card import card_of
from fer_lightning.training.safetensors_weights import WEIGHTS, find_checkpoint

if TYPE_CHECKING:
    from fer_lightning.training.checkpoints import TrainedNet

BACKENDS = ("auto", "torch", "onnxruntime")


class FaceClassifier(Protocol):
    """Interface of a classifier of faces.

    Attributes:
        classes: Names of the K classes, in the order of the probabilities.
        preprocessing: `image_size` S, `channels` C, `mean`, `std`, `align` and `side` of the training.
        card: Card of the network, see `card_of`.
        backend: `"torch"` or `"onnxruntime"`.
        precision: Precision of the computation, `"float32"` or `"int8"`.
    """

    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    card: dict[str, Any]
    backend: str
    precision: str

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Class probabilities, calibrated with the temperature of the card.

        Args:
            faces: uint8 `(N, S, S, C)`; N may be 0.

        Returns:
            float32 `(N, K)`; each row sums to 1.
        """
        ...

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """Features before the last layer.

        Args:
            faces: uint8 `(N, S, S, C)`; N must be at least 1.

        Returns:
            float32 `(N, D)`.

        Raises:
            UserError: The network or its file offers none.
        """
        ...


def open_classifier(source: str, backend: str = "auto", threads: int | None = None) -> FaceClassifier:
    """Opens a trained network for use on the CPU.

    Args:
        source: Run folder, `.ckpt`, `.safetensors` or `.onnx` file, or name of a network that ships with the package.
        backend: `"torch"`, `"onnxruntime"` (for `.onnx` files and networks that ship with the package), or `"auto"`:
            PyTorch where it is installed, except for `.onnx` files.
        threads: Number of threads of one call; None leaves the choice to the backend.

    Raises:
        UserError: The file does not exist or was not written by this project, the backend does not support it, or the
            network has an auxiliary input.
    """
    require_known("backend", backend, BACKENDS)
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, or null for the backend's default; got {threads}.")
    path = Path(source)
    if path.suffix == ".onnx" and backend == "torch":
        raise UserError(f"backend must be onnxruntime for {source}; got torch: use the run it was exported from.")
    if path.suffix != ".onnx":
        path = find_checkpoint(source)
        has_torch = find_spec("torch") is not None
        if path.parent == WEIGHTS and (backend == "onnxruntime" or (backend == "auto" and not has_torch)):
            path = path.with_suffix(".onnx")
        elif backend == "onnxruntime":
            raise UserError(
                f"backend=onnxruntime needs an .onnx file; got {source}: create one with "
                f"fer export checkpoint={source} format=onnx."
            )
        elif not has_torch:
            raise UserError(
                f"{source} needs PyTorch: pip install 'fer_lightning[train]', or use an .onnx file, which "
                "fer export writes where PyTorch is installed."
            )
    opened: FaceClassifier
    # Both libraries take seconds to import.
    if path.suffix == ".onnx":
        try:
            from fer_lightning.inference.onnx_classifier import OnnxClassifier
        except ModuleNotFoundError as error:
            raise UserError(f"{path.name} needs {error.name}: pip install 'fer_lightning[predict]'.") from None

        opened = OnnxClassifier(path, source, threads)
    else:
        from fer_lightning.training.checkpoints import load_net

        opened = TorchClassifier(load_net(path), source, threads)
    side = opened.preprocessing["side"]
    if side != "none":
        raise UserError(
            f"{source} needs the auxiliary input {side}, which prediction does not provide: use another net."
        )
    return opened


class TorchClassifier:
    """`FaceClassifier` of a trained network in PyTorch.

    Args:
        trained: Trained network without auxiliary input.
        source: Source of the network, as the user named it.
        threads: Number of PyTorch's threads in the whole process; None does not change it.
    """

    backend = "torch"
    precision = "float32"

    def __init__(self, trained: TrainedNet, source: str, threads: int | None) -> None:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        self.classes = trained.classes
        self.preprocessing = trained.description["preprocessing"]
        self.card = card_of(trained, source)
        self.trained = trained

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        if not len(faces):
            return np.zeros((0, len(self.classes)), np.float32)
        import torch

        with torch.inference_mode():
            logits = self.trained.net(torch.from_numpy(normalise(faces, self.preprocessing)))
        return (logits.float() / self.card["temperature"]).softmax(dim=1).numpy()

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        import torch

        net: Any = self.trained.net
        if not hasattr(net, "forward_features"):
            raise UserError(
                f"{self.card['source']} is a {type(net).__name__}, which has no features: use another network, such as "
                "ferplus or, for a vote, a run of one of its members."
            )
        with torch.inference_mode():
            return net.forward_features(torch.from_numpy(normalise(faces, self.preprocessing))).float().numpy()


def normalise(faces: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Normalised faces as input of a network.

    Args:
        faces: uint8 `(N, S, S, C)`.
        preprocessing: `image_size` S, `channels` C, and `mean` and `std` of pixel values in 0..1, one value or one per
            channel.

    Returns:
        float32 `(N, C, S, S)`, contiguous.

    Raises:
        ValueError: The faces have another shape or type.
    """
    size, channels = preprocessing["image_size"], preprocessing["channels"]
    if faces.dtype != np.uint8 or faces.shape[1:] != (size, size, channels):
        raise ValueError(f"faces must be uint8 (N, {size}, {size}, {channels}); got {faces.dtype} {faces.shape}.")
    mean, std = (255 * np.asarray(preprocessing[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    return np.ascontiguousarray((faces.transpose(0, 3, 1, 2) - mean) / std, np.float32)
