"""Prediction of the expressions in pictures and videos.

from fer_lightning import Predictor
predictor = Predictor("ferplus")
print(predictor("photo.jpg"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fer_lightning.errors import UserError
from fer_lightning.inference.classifier import open_classifier
from fer_lightning.inference.face_detector import Face, FaceFinder, WholePicture, crop_faces
from fer_lightning.inference.images import is_tensor, open_picture
from fer_lightning.inference.predictions import PredictionBatch, Predictions, predict
from fer_lightning.inference.tracking import VideoReading
from fer_lightning.inference.video import Video, find_source, folder_content, is_video

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_BATCH = 64  # faces of one call of the network


class Predictor:
    """Detector of faces and classifier of their expressions; a context manager.

    Args:
        model: Net that ships with the package (`"ferplus"`: 8 classes, `"fer2013"`: 7), run folder, or `.ckpt`,
            `.safetensors` or `.onnx` file.
        backend: See `open_classifier`.
        max_faces: Maximum number of faces of a picture, the largest first.
        threshold: Probability below which the label is `"uncertain"`.
        min_face: Minimum width of a face in pixels.
        thorough: Whether small and rotated faces are searched for as well, in tenths of a second a picture; without it,
            in milliseconds, a face must be a fifth as wide as the picture.
        threads: Number of threads of the net; None leaves the choice to the backend.
        detect: Whether to search for faces; False for pictures that are cropped faces, as in the data sets, which needs
            no MediaPipe.

    Raises:
        UserError: The net or MediaPipe is missing.

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
        (2, 128)
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
    ) -> None:
        self.model = str(model)
        self.max_faces = max_faces
        self.threshold = threshold
        self.classifier = open_classifier(self.model, backend, threads)
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
        if isinstance(image, (str, Path)):
            return self._read_folder(Path(image)) if Path(image).is_dir() else self._read(image, str(image))
        is_array = isinstance(image, np.ndarray) or is_tensor(image)
        if image.ndim == 4 if is_array else isinstance(image, Iterable):
            return PredictionBatch(self._try_to_read(each, number) for number, each in enumerate(image))
        return self._read(image, "0")

    def video(
        self, source: str | Path | int | Iterable[Any], smoothing: float = 0.3, rate: float = 30.0
    ) -> Iterator[Predictions]:
        """Yields the predictions of each frame of a video, in which people are followed from frame to frame.

        A predictor with `thorough=False` is faster, and misses faces that are small or rotated.

        Args:
            source: File, number of a camera, or frames, each a picture of any kind.
            smoothing: Time constant in seconds of the average over frames; 0 for none.
            rate: Frames per second, where `source` are frames.

        Raises:
            UserError: The source does not exist or is not a video, or a frame is not a picture.
        """
        if smoothing < 0 or rate <= 0:
            raise UserError(f"smoothing must be 0 or more seconds, and rate positive; got {smoothing} and {rate}.")
        reading = VideoReading(self, smoothing)
        if not isinstance(source, (str, Path, int)):
            for number, frame in enumerate(source):
                found = reading.read(open_picture(frame), number / rate)
                yield Predictions(found, "frames", self.classes, frame=number, seconds=number / rate)
            return
        path = find_source(str(source))
        if not isinstance(path, int) and (path.is_dir() or not is_video(path)):
            raise UserError(f"{source} is not a video: call the predictor with it.")
        with Video(path) as video:
            for each in video.frames():
                found = reading.read(each.pixels, each.seconds)
                yield Predictions(found, str(source), self.classes, frame=each.number, seconds=each.seconds)

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
        parts = (np.array(faces[start : start + _BATCH]) for start in range(0, len(faces), _BATCH))
        return np.concatenate([self.classifier.embed(part) for part in parts])

    def classify(self, picture: np.ndarray, faces: Sequence[Face]) -> tuple[np.ndarray, np.ndarray]:
        """Crops and class probabilities of detected faces.

        Args:
            picture: RGB, uint8 `(H, W, 3)`.
            faces: N faces of the picture.

        Returns:
            uint8 `(N, S, S, C)` and float32 `(N, K)`.
        """
        crops = crop_faces(picture, faces, self.classifier.preprocessing)
        return crops, self.classifier.probabilities(crops)

    def _read(self, image: Any, source: str) -> Predictions:
        try:
            picture = open_picture(image)
        except UserError:
            if isinstance(image, (str, Path)) and Path(image).is_file() and is_video(Path(image)):
                raise UserError(f"{image} is a video: read it by Predictor.video.") from None
            raise
        faces = self.finder.find(picture)[: self.max_faces]
        crops, probabilities = self.classify(picture, faces)
        found = (
            predict(face.box, row, self.classes, self.threshold, crop)
            for face, row, crop in zip(faces, probabilities, crops)
        )
        return Predictions(found, source, self.classes)

    def _try_to_read(self, image: Any, number: int) -> Predictions:
        source = str(image) if isinstance(image, (str, Path)) else str(number)
        try:
            return self._read(image, source)
        except UserError as error:
            return Predictions((), source, self.classes, str(error))

    def _read_folder(self, folder: Path) -> PredictionBatch:
        content = folder_content(folder)
        if not content.pictures and not content.unread:
            raise UserError(f"{folder} must contain pictures; none was found.")
        unread = (
            Predictions((), str(path), self.classes, f"{path} {reason}.") for path, reason in content.unread.items()
        )
        read = (self._try_to_read(path, number) for number, path in enumerate(content.pictures))
        return PredictionBatch([*read, *unread])

    def close(self) -> None:
        """Frees the face detector."""
        self.finder.close()

    def __repr__(self) -> str:
        return f"Predictor({self.model!r}, {self.classifier.backend}, classes: {', '.join(self.classes)})"

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
