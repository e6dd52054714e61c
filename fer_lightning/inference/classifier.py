"""Classifiers of faces: one interface to trained networks in any file format, on any backend."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from fer_lightning.data.labels import ClassGroups
from fer_lightning.errors import UserError, require_known
from fer_lightning.inference.card import card_of
from fer_lightning.results.prior import PriorShift
from fer_lightning.training.safetensors_weights import HUB, WEIGHTS, find_checkpoint

if TYPE_CHECKING:
    from fer_lightning.inference.face_detector import Face
    from fer_lightning.training.checkpoints import TrainedNet

ONNX_BACKENDS = ("onnxruntime", "openvino")
BACKENDS = ("auto", "torch", *ONNX_BACKENDS)
TTA = ("none", "mirror", "crops")
DEVICES = ("cpu", "cuda")
Item = TypeVar("Item")
Result = TypeVar("Result")
# Limits of what is in memory, whatever the number of faces: pictures that are read ahead, and pixels of one batch.
_AHEAD = 2
_MOST_BYTES = 2**26


class FaceClassifier(Protocol):
    """Interface of a classifier of faces.

    Attributes:
        classes: Names of the K classes, in the order of the probabilities.
        preprocessing: `image_size` S, `channels` C, `mean`, `std`, `align` and `side` of the training.
        card: Card of the network, see `card_of`.
        backend: `"torch"`, `"onnxruntime"` or `"openvino"`.
        precision: Precision of the computation, `"float32"` or `"int8"`.
        has_affect: Whether the network predicts valence and arousal as well.
    """

    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    card: dict[str, Any]
    backend: str
    precision: str
    has_affect: bool

    def classify(self, faces: np.ndarray) -> np.ndarray:
        """Calibrated class probabilities and, of a network that predicts them, valence and arousal.

        Args:
            faces: uint8 `(N, S, S, C)`; N may be 0.

        Returns:
            float32 `(N, K)` or `(N, K + 2)`; probabilities of a row sum to 1.
        """
        ...

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Probabilities `(N, K)` alone, see `classify`."""
        return self.classify(faces)[:, : len(self.classes)]

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


def open_classifier(
    source: str,
    backend: str = "auto",
    threads: int | None = None,
    device: str = "cpu",
    providers: Sequence[str] | None = None,
    tta: str = "none",
    prior: str | Mapping[str, float] = "training",
    groups: str | Mapping[str, Sequence[str]] | None = None,
) -> FaceClassifier:
    """Opens a trained network.

    Args:
        source: Run folder, `.ckpt`, `.safetensors` or `.onnx` file, name of a network that ships with the package, or
            `hf:user/name` of the Hugging Face hub (see `find_checkpoint`).
        backend: `"torch"`; `"onnxruntime"` or `"openvino"`, for `.onnx` files and networks that ship with the package;
            or `"auto"`: PyTorch where it is installed, except for `.onnx` files, which ONNX Runtime opens.
        threads: Number of threads of one call; None leaves the choice to the backend.
        device: `"cpu"` or `"cuda"`.
        providers: Execution providers of ONNX Runtime, the preferred one first; None for that of the device.
        tta: Views of each face whose probabilities are averaged, see `views_of`.
        prior: Expected shares of the classes, see `PriorShift.of`.
        groups: Groups whose probabilities are given instead of those of the classes, see `ClassGroups.of`.

    Raises:
        UserError: The file does not exist or was not written by this project, the backend or the machine does not
            support it, the network has an auxiliary input, or the shares of its training are not known.
    """
    require_known("backend", backend, BACKENDS)
    require_known("device", device, DEVICES)
    require_known("tta", tta, TTA)
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, or null for the backend's default; got {threads}.")
    if backend == "auto" and providers is not None:
        backend = "onnxruntime"
    path = find_checkpoint(source, backend=backend) if source.startswith(HUB) else Path(source)
    if backend == "auto" and device == "cuda" and path.suffix != ".onnx":
        backend = "torch"  # whose package supports GPUs, unlike the usual one of ONNX Runtime
    if backend == "openvino" and (device != "cpu" or providers is not None):
        raise UserError("backend=openvino computes on the CPU, and has no providers: omit device and providers.")
    if path.suffix == ".onnx" and backend == "torch":
        raise UserError(
            f"backend must be onnxruntime or openvino for {source}; got torch: use the run it was exported from."
        )
    if path.suffix != ".onnx":
        path = find_checkpoint(path)
        has_torch = find_spec("torch") is not None
        if path.parent == WEIGHTS and (backend in ONNX_BACKENDS or (backend == "auto" and not has_torch)):
            path = path.with_suffix(".onnx")
        elif backend in ONNX_BACKENDS:
            raise UserError(
                f"backend={backend} needs an .onnx file; got {source}: create one with "
                f"fer export checkpoint={source} format=onnx."
            )
        elif not has_torch:
            raise UserError(
                f"{source} needs PyTorch: pip install 'fer_lightning[train]', or use an .onnx file, which "
                "fer export writes where PyTorch is installed."
            )
    if path.suffix != ".onnx" and providers is not None:
        raise UserError(f"providers are those of ONNX Runtime, and {source} is opened by PyTorch: omit providers.")
    opened = open_file(path, source, threads, device, providers, backend)
    side = opened.preprocessing["side"]
    if side != "none":
        raise UserError(
            f"{source} needs the auxiliary input {side}, which prediction does not provide: use another net."
        )
    shift = PriorShift.of(prior, opened.card)
    grouping = ClassGroups.of(groups, opened.classes) if groups else None
    opened.card |= {"tta": tta, "prior": shift.name, **({"groups": grouping.name} if grouping else {})}
    adjusted = (tta, shift.name, grouping) != ("none", "training", None)
    return AdjustedClassifier(opened, tta, shift, grouping) if adjusted else opened


def open_file(
    path: Path,
    source: str,
    threads: int | None = None,
    device: str = "cpu",
    providers: Sequence[str] | None = None,
    backend: str = "auto",
) -> FaceClassifier:
    """Opens a file of a network, also of one with an auxiliary input; arguments as in `open_classifier`."""
    # Both libraries take seconds to import.
    if path.suffix != ".onnx":
        from fer_lightning.training.checkpoints import load_net

        return TorchClassifier(load_net(path), source, threads, device)
    try:
        from fer_lightning.inference.onnx_classifier import OnnxClassifier
    except ModuleNotFoundError as error:
        raise UserError(f"{path.name} needs {error.name}: pip install 'fer_lightning[predict]'.") from None
    return OnnxClassifier(path, source, threads, device, providers, backend)


class TorchClassifier(FaceClassifier):
    """`FaceClassifier` of a trained network in PyTorch.

    Args:
        trained: Trained network without auxiliary input.
        source: Source of the network, as the user named it.
        threads: Number of PyTorch's threads in the whole process; None does not change it.
        device: `"cpu"` or `"cuda"`.

    Raises:
        UserError: PyTorch finds no GPU.
    """

    backend, precision = "torch", "float32"

    def __init__(self, trained: TrainedNet, source: str, threads: int | None, device: str = "cpu") -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device=cuda needs a GPU, and PyTorch finds none here: use device=cpu.")
        self.classes = trained.classes
        self.preprocessing = trained.description["preprocessing"]
        self.card = card_of(trained, source)
        self.trained, self.device = trained, device
        self.has_affect = hasattr(trained.net, "affect_head")
        trained.net.to(device)

    def classify(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        if not len(faces):
            return np.zeros((0, len(self.classes) + 2 * self.has_affect), np.float32)
        import torch

        from fer_lightning.models.affect import classes_and_affect

        net: Any = self.trained.net
        forward = partial(classes_and_affect, net) if self.has_affect else lambda images: (net(images),)
        with torch.inference_mode():
            logits, *affect = forward(torch.from_numpy(normalise(faces, self.preprocessing)).to(self.device))
            shares = (logits.float() / self.card["temperature"]).softmax(dim=1)
            return torch.cat([shares, *affect], dim=1).cpu().numpy()

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
            images = torch.from_numpy(normalise(faces, self.preprocessing)).to(self.device)
            return net.forward_features(images).float().cpu().numpy()


class AdjustedClassifier(FaceClassifier):
    """`FaceClassifier` that averages the probabilities of views, changes their prior and groups their classes."""

    def __init__(self, classifier: FaceClassifier, tta: str, shift: PriorShift, groups: ClassGroups | None) -> None:
        self.classifier = classifier
        self.tta, self.shift, self.groups = tta, shift, groups
        self.classes = groups.label_set.classes if groups else classifier.classes
        self.preprocessing, self.has_affect = classifier.preprocessing, classifier.has_affect
        self.card, self.backend, self.precision = classifier.card, classifier.backend, classifier.precision

    def classify(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        views = [self.classifier.classify(view) for view in views_of(faces, self.tta)]
        probabilities, affect = np.split(np.mean(views, axis=0), [len(self.classifier.classes)], axis=1)
        shifted = self.shift(probabilities)
        return np.concatenate([self.groups.probabilities(shifted) if self.groups else shifted, affect], axis=1)

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`; features of the faces as they are."""
        return self.classifier.embed(faces)


def views_of(faces: np.ndarray, tta: str) -> Iterator[np.ndarray]:
    """Views of faces uint8 `(N, S, S, C)`, as `models.weighted_voting.views` gives them of tensors, without PyTorch."""
    height, width = faces.shape[1:3]
    shift = round(width / 16) if tta == "crops" else 0
    padded = np.pad(faces, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
    for down, right in ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)) if shift else ((0, 0),):
        top, left = shift * (1 + down), shift * (1 + right)
        view = padded[:, top : top + height, left : left + width]
        yield view
        if tta != "none":
            yield view[:, :, ::-1]


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


@dataclass
class DetectedFaces:
    """Faces of a picture, which `classify_ahead` classifies.

    Attributes:
        source: Origin of the picture.
        picture: RGB, uint8 `(H, W, 3)`; empty for a picture that cannot be read.
        faces: N faces, the largest first.
        crops: uint8 `(N, S, S, C)`.
        error: Reason why the picture could not be read; empty where it was.
        outputs: Result of `FaceClassifier.classify`, as soon as the faces are classified.
    """

    source: Any
    picture: np.ndarray
    faces: Sequence[Face]
    crops: np.ndarray
    error: str = ""
    outputs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def classify_ahead(
    classify: Callable[[np.ndarray], np.ndarray],
    items: Iterable[Item],
    read: Callable[[Item], Result | None],
    detect: Callable[[Result], DetectedFaces],
    batch_size: int,
    pictures: int,
) -> Iterator[DetectedFaces]:
    """Yields the classified faces of pictures in their order; reading, detection and classification overlap.

    A thread reads, and another one classifies the faces of several pictures in one pass, while the caller's thread
    detects the faces of the next ones. Batches depend on the pictures alone, not on the time, so that results can be
    repeated. However the iteration ends, both threads end with it.

    Args:
        classify: Function from crops uint8 `(N, S, S, C)` to float32 `(N, K)` or `(N, K + 2)`.
        items: Sources of the pictures, iterated in the caller's thread.
        read: Function from an item to the input of `detect`; None ends the iteration.
        detect: Function that detects faces.
        batch_size: Maximum number of faces of one call of `classify`.
        pictures: Maximum number of pictures of a batch; 1 for live pictures, which must not wait for each other: all
            is then computed in the caller's thread.
    """

    def classified(batch: list[DetectedFaces]) -> list[DetectedFaces]:
        crops = np.concatenate([each.crops for each in batch])
        parts = range(0, max(1, len(crops)), batch_size)
        outputs = np.concatenate([classify(crops[start : start + batch_size]) for start in parts])
        ends = np.cumsum([len(each.crops) for each in batch])
        for each, rows in zip(batch, np.split(outputs, ends[:-1])):
            each.outputs = rows
        return batch

    if pictures == 1:
        for item in items:
            if (result := read(item)) is None:
                return
            yield from classified([detect(result)])
        return
    with ExitStack() as stack:
        reader, classifier = (ThreadPoolExecutor(1, f"fer_{name}") for name in ("reader", "classifier"))
        for pool in (reader, classifier):
            stack.callback(pool.shutdown, cancel_futures=True)
        results = _ahead(reader, read, items)
        batch: list[DetectedFaces] = []
        before: Future[list[DetectedFaces]] | None = None
        more, failure = True, None
        while more:
            try:
                if more := (result := next(results, None)) is not None:
                    batch.append(detect(result))
            except BaseException as error:  # the faces that were detected before it are still classified
                more, failure = False, error
                reader.shutdown(wait=False, cancel_futures=True)
            if batch and (not more or _is_full(batch, batch_size, pictures)):
                now = classifier.submit(classified, batch)
                batch = []
                if before is not None:
                    yield from before.result()
                before = now
        if before is not None:
            yield from before.result()
        if failure is not None:
            raise failure


def _ahead(pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like `map`, in the order of the items, computed in the thread of a pool before the results are asked for."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _is_full(batch: Sequence[DetectedFaces], batch_size: int, pictures: int) -> bool:
    faces, size = sum(len(each.crops) for each in batch), sum(each.picture.nbytes for each in batch)
    return len(batch) >= pictures or faces >= batch_size or size >= _MOST_BYTES
