"""Prediction of the expressions in pictures and videos.

from fer_lightning import Predictor
predictor = Predictor("ferplus")
print(predictor("photo.jpg"))
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fer_lightning.errors import UserError
from fer_lightning.inference.classifier import DetectedFaces, Item, Result, classify_ahead, open_classifier
from fer_lightning.inference.face_detector import Face, FaceFinder, WholePicture, crop_faces
from fer_lightning.inference.images import is_tensor, open_picture
from fer_lightning.inference.predictions import PredictionBatch, Predictions, predict
from fer_lightning.inference.tracking import VideoReading
from fer_lightning.inference.video import Frame, Video, find_source, folder_content, is_video

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

# Pictures in which faces are detected before those of the first are classified, half a second of most videos: more
# would not be faster, and would be lost where the program is killed.
_MOST_DETECTED = 16
_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


class Predictor:
    """Detector of faces and classifier of their expressions; a context manager.

    Args:
        model: Net that ships with the package (`"ferplus"`: 8 classes, `"fer2013"`: 7), run folder, `.ckpt`,
            `.safetensors` or `.onnx` file, or repository of the Hugging Face hub, `"hf:user/name"`,
            `"hf:user/name@revision"` or `"hf:user/name/model_int8.onnx"`.
        backend: See `open_classifier`.
        max_faces: Maximum number of faces of a picture, the largest first.
        threshold: Probability below which the label is `"uncertain"`.
        min_face: Minimum width of a face in pixels.
        thorough: Whether small and rotated faces are searched for as well, in tenths of a second a picture; without it,
            in milliseconds, a face must be a fifth as wide as the picture.
        threads: Number of threads of the net; None leaves the choice to the backend.
        detect: Whether to search for faces; False for pictures that are cropped faces, as in the data sets, which needs
            no MediaPipe.
        batch_size: Maximum number of faces that the net classifies in one pass; with 1, several pictures are read one
            after the other, in the caller's thread.
        device: Device of the net, `"cpu"` or `"cuda"`; faces are detected on the CPU.
        providers: Execution providers of ONNX Runtime, the preferred one first; None for that of the device.
        tta: Test-time augmentation, which averages the probabilities of several views of a face: `"mirror"`, of it and
            its mirror image at twice the cost; `"crops"`, of ten views at ten times the cost; or `"none"`.
        prior: Expected shares of the classes, which change the calibrated logits by
            `tau * (log share - log share in training)` (see `fer_lightning.results.prior`): `"training"`, no change;
            `"balanced"`, all classes equally likely, so that rare ones are found more often and frequent ones less; or
            a positive number for each class, `{"happy": 3, "sad": 1, ...}`, divided by their sum.
        groups: Groups that replace the classes, their probabilities summed: `"valence3"` (negative, neutral, positive),
            or the classes of each group, `{"smiling": ["happy"], "other": ["neutral", "sad"]}`. Classes in no group are
            left out, as surprise is in `valence3`.

    Raises:
        UserError: The net or MediaPipe is missing, or the net's shares in training are not known.

    Example:
        >>> predictor = Predictor("ferplus", detect=False)
        >>> faces = [np.full((48, 48), 128, np.uint8), np.zeros((64, 64, 3)), "nobody.png"]
        >>> results = predictor(faces)  # a file that cannot be read fails alone
        >>> [len(result) for result in results], results[2].error
        ([1, 1, 0], 'nobody.png does not exist.')
        >>> results[0][0].label in predictor.classes
        True
        >>> results.to_frame()[["source", "face", "width", "error"]]
               source  face  width                       error
        0           0     0   48.0
        1           1     0   64.0
        2  nobody.png  <NA>    NaN  nobody.png does not exist.
        >>> predictor.embed(faces[:2]).shape
        (2, 64)
    """

    def __init__(
        self,
        model: str | Path = "ferplus",
        backend: str = "auto",
        max_faces: int = 20,
        threshold: float = 0.0,
        min_face: float = 0.0,
        thorough: bool = True,
        threads: int | None = None,
        detect: bool = True,
        batch_size: int = 64,
        device: str = "cpu",
        providers: Sequence[str] | None = None,
        tta: str = "none",
        prior: str | Mapping[str, float] = "training",
        groups: str | Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1; got {batch_size}.")
        self.model = str(model)
        self.max_faces = max_faces
        self.threshold = threshold
        self.batch_size = batch_size
        self.classifier = open_classifier(self.model, backend, threads, device, providers, tta, prior, groups)
        self.finder = FaceFinder(thorough, min_face) if detect else WholePicture()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.classifier.classes

    @overload
    def __call__(self, image: str | Path | np.ndarray | Image | Tensor) -> Predictions: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...] | Iterator[Any]) -> PredictionBatch: ...

    def __call__(self, image: Any) -> Predictions | PredictionBatch:
        """Predicts the expression of every face of a picture, or of every picture of a list or a folder.

        Args:
            image: File, PIL image, array `(H, W)`, `(H, W, 3)` RGB or `(H, W, 4)` RGBA of 8 or 16 bits or floats in
                0..1, or tensor, also `(C, H, W)`. Several pictures: any list or iterator of them, an array
                `(N, H, W, C)` or a tensor `(N, C, H, W)`, or a folder, whose pictures are all read.

        Returns:
            `Predictions` of one picture, the largest face first; empty where there is no face. `PredictionBatch` of
            several, in their order: a picture that cannot be read has an `error` and no faces.

        Raises:
            UserError: The one picture is missing, an address, or of another kind; or the folder holds no pictures.
        """
        if isinstance(image, (str, Path)) and Path(image).is_dir():
            return self._read_folder(Path(image))
        is_array = isinstance(image, np.ndarray) or is_tensor(image)
        if image.ndim == 4 if is_array else isinstance(image, Iterable) and not isinstance(image, (str, Path)):
            return PredictionBatch(predictions for _, predictions in self.read(image))
        picture = self._open(image)
        faces = self._detect(image, picture)
        faces.outputs = self.classifier.classify(faces.crops)
        return self._predictions(faces, 0)

    def read(self, pictures: Iterable[Any]) -> Generator[tuple[np.ndarray, Predictions], None, None]:
        """Yields pictures and their predictions, while the next ones are read, detected and classified.

        Args:
            pictures: Pictures of any kind, see `__call__`, of which only a few are in memory.

        Yields:
            Pixels, RGB uint8 `(H, W, 3)`, and predictions. A picture that cannot be read has no pixels and an `error`.
        """

        def open_one(image: Any) -> tuple[Any, np.ndarray | UserError]:
            try:
                return image, self._open(image)
            except UserError as error:
                return image, error

        # Not kept in a variable: whatever ends this loop, the iterator is freed and its threads end.
        for number, faces in enumerate(self.classify_ahead(pictures, open_one, lambda opened: self._detect(*opened))):
            yield faces.picture, self._predictions(faces, number)

    def video(
        self, source: str | Path | int | Iterable[Any], smoothing: float = 0.3, rate: float = 30.0
    ) -> Iterator[Predictions]:
        """Yields the predictions of each frame of a video, in which people are followed from frame to frame.

        A predictor with `thorough=False` is faster, and misses faces that are small or rotated.

        Args:
            source: File, number of a camera, or frames, each a picture of any kind. Frames of a camera or an iterator
                are predicted as they come; those of a file or a list are read ahead, and classified in batches.
            smoothing: Time constant in seconds of the average over frames; 0 for none.
            rate: Frames per second, where `source` are frames.

        Raises:
            UserError: The source does not exist or is not a video, or a frame is not a picture.
        """
        if smoothing < 0 or rate <= 0:
            raise UserError(f"smoothing must be 0 or more seconds, and rate positive; got {smoothing} and {rate}.")
        reading = VideoReading(self, smoothing)
        if not isinstance(source, (str, Path, int)):
            frames = (Frame(number, number / rate, open_picture(frame)) for number, frame in enumerate(source))
            for _, predictions in reading.read_all(frames, "frames", is_live=isinstance(source, Iterator)):
                yield predictions
            return
        path = find_source(str(source))
        if not isinstance(path, int) and (path.is_dir() or not is_video(path)):
            raise UserError(f"{source} is not a video: call the predictor with it.")
        with Video(path) as video:
            for _, predictions in reading.read_all(video.frames(), str(source), is_live=isinstance(path, int)):
                yield predictions

    def embed(self, image: Any) -> np.ndarray:
        """Features of all faces before the last layer of the network.

        Args:
            image: One or several pictures, see `__call__`, or their predictions.

        Returns:
            float32 `(N, D)`, N over the faces of all pictures in the order of `to_frame`.

        Raises:
            UserError: The network has no features (a vote, an ONNX file); see also `__call__`.
        """
        found = image if isinstance(image, (Predictions, PredictionBatch)) else self(image)
        pictures = [found] if isinstance(found, Predictions) else found
        faces = [prediction.face for picture in pictures for prediction in picture]
        size, channels = (self.classifier.preprocessing[name] for name in ("image_size", "channels"))
        if not faces:
            return self.classifier.embed(np.zeros((1, size, size, channels), np.uint8))[:0]
        parts = (np.array(faces[start : start + self.batch_size]) for start in range(0, len(faces), self.batch_size))
        return np.concatenate([self.classifier.embed(part) for part in parts])

    def classify_ahead(
        self,
        items: Iterable[Item],
        read: Callable[[Item], Result | None],
        detect: Callable[[Result], DetectedFaces],
        is_live: bool = False,
    ) -> Iterator[DetectedFaces]:
        """Classified faces of pictures in batches of this predictor, see `classifier.classify_ahead`."""
        most = self.batch_size if isinstance(self.finder, WholePicture) else min(self.batch_size, _MOST_DETECTED)
        classify = self.classifier.classify
        return classify_ahead(classify, items, read, detect, self.batch_size, 1 if is_live else most)

    def _open(self, image: Any) -> np.ndarray:
        try:
            return open_picture(image)
        except UserError:
            if isinstance(image, (str, Path)) and Path(image).is_file() and is_video(Path(image)):
                raise UserError(f"{image} is a video: read it by Predictor.video.") from None
            raise

    def _detect(self, source: Any, picture: np.ndarray | UserError) -> DetectedFaces:
        if isinstance(picture, UserError):
            return self.crop(source, _NO_PICTURE, (), str(picture))
        return self.crop(source, picture, self.finder.find(picture)[: self.max_faces])

    def crop(self, source: Any, picture: np.ndarray, faces: Sequence[Face], error: str = "") -> DetectedFaces:
        """Detected faces of a picture with their crops for the network, see `DetectedFaces`."""
        return DetectedFaces(source, picture, faces, crop_faces(picture, faces, self.classifier.preprocessing), error)

    def _predictions(self, faces: DetectedFaces, number: int) -> Predictions:
        predictions = (
            predict(face.box, row, self.classes, self.threshold, crop)
            for face, row, crop in zip(faces.faces, faces.outputs, faces.crops)
        )
        source = str(faces.source) if isinstance(faces.source, (str, Path)) else str(number)
        return Predictions(predictions, source, self.classes, faces.error)

    def _read_folder(self, folder: Path) -> PredictionBatch:
        content = folder_content(folder)
        if not content.pictures and not content.unread:
            raise UserError(f"{folder} must contain pictures; none was found.")
        unread = (
            Predictions((), str(path), self.classes, f"{path} {reason}.") for path, reason in content.unread.items()
        )
        return PredictionBatch([*self(content.pictures), *unread])

    def close(self) -> None:
        """Frees the face detector."""
        self.finder.close()

    def __repr__(self) -> str:
        return f"Predictor({self.model!r}, {self.classifier.backend}, classes: {', '.join(self.classes)})"

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
