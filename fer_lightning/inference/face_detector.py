"""Face detection in pictures (near and far, upright and rotated faces), and crops for a network.

V. Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", CVPR workshop 2019, detects six
points of a face: the centres of the eyes, the tip of the nose, the centre of the mouth, and the ears; the left one of
the image comes first in each pair.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_lightning.data.alignment.landmarker import close_task, open_task
from fer_lightning.data.alignment.warp import fit_similarity, warp
from fer_lightning.data.image_decoding import conform

MODEL = Path(__file__).parents[1] / "weights" / "face_detector.tflite"  # as in MediaPipe's face_landmarker.task
MIN_SCORE = 0.5
# Threshold in tiles and rotated pictures, of which there are many. 97 % of 250 real faces reach it at the first
# detection, and 2 % of 543 false detections with a score of 0.3 in pictures without a face.
_TILE_SCORE = 0.7
# A picture whose best face has a lower score is searched rotated as well: BlazeFace detects inverted faces badly.
_SURE_SCORE = 0.75
# The input of BlazeFace has 128 x 128 pixels. OpenCV averages by area where MediaPipe would skip pixels.
_SIDE = 128
# BlazeFace misses faces narrower than about a fifth of its input: large pictures are searched in tiles of half the
# size, a quarter, and so on, down to the tile in which the smallest face is large enough.
_SMALLEST_FACE = 24
_SMALLEST_SHARE = 0.15
# Larger pictures are downscaled to this size for the search; their faces are cropped from the original.
_LARGEST_SIDE = 2048
# BlazeFace misses faces that fill the picture, as in the data sets, without a border of this share.
_BORDER = 0.25
# Scale of a face in the second detection relative to its crop, about the best size for BlazeFace.
_SECOND_LOOK = 0.7
_OVERLAP = 0.4
# (6, 2), in units of the size of the aligned picture: medians over 881 random pictures of FER2013's Training that were
# aligned to `landmarks.TEMPLATE` by their 68 landmarks, symmetrised with their mirror images.
KEYPOINTS: np.ndarray = np.array(
    [(0.3502, 0.4044), (0.6498, 0.4044), (0.5000, 0.5834), (0.5000, 0.7249), (0.1941, 0.4568), (0.8059, 0.4568)]
)
# Points used by the alignment: the ears move as soon as the head turns.
ALIGNED: np.ndarray = np.arange(4)
# A net trained on whole pictures of FER2013 is more accurate on aligned faces (0.69 against 0.64 of 245 faces with a
# margin), but not where the border of the picture is replicated: the crop is then tighter. On 734 tight pictures
# its accuracy is 0.63 without this, 0.67 with it, and 0.68 without alignment.
_ZOOMS = (1.0, 1.1, 1.2, 1.3)
_MAX_OUTSIDE = 0.02
_GRID = (np.stack(np.meshgrid(np.arange(16), np.arange(16)), -1).reshape(-1, 2) + 0.5) / 16


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    Attributes:
        box: x and y of the upper left corner, width and height, in pixels; it may exceed the picture.
        score: Confidence of the detector, in 0..1.
        points: float32 `(6, 2)`, the six points of BlazeFace in pixels of the picture from its left and upper edge.
    """

    box: tuple[float, float, float, float]
    score: float
    points: np.ndarray

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        return self.box[2] * self.box[3]


@dataclass(frozen=True)
class _View:
    """Input of BlazeFace, and the `(2, 3)` matrix from its pixels to those of the picture."""

    pixels: np.ndarray
    to_picture: np.ndarray


class FaceFinder:
    """Face detector BlazeFace (short range) of MediaPipe, whose model ships with the package; a context manager.

    Every face is detected a second time, upright and at the best size for BlazeFace: for a small face, an error of one
    pixel of 128 is a tenth of the distance of the eyes.

    Like every model of MediaPipe, it hangs after a fork and cannot be pickled.

    Args:
        thorough: Whether pictures are also searched in tiles, for small faces, and rotated where no face is found; for
            photos. It takes tenths of a second instead of a few milliseconds.
        min_face: Minimum width of a face in pixels.

    Raises:
        UserError: MediaPipe, or a system library that it loads, is missing.
    """

    def __init__(self, thorough: bool = True, min_face: float = 0) -> None:
        self.thorough = thorough
        self.min_face = min_face

        def create(mediapipe: Any) -> Any:
            options = mediapipe.tasks.vision.FaceDetectorOptions(
                base_options=mediapipe.tasks.BaseOptions(model_asset_buffer=MODEL.read_bytes()),
                min_detection_confidence=MIN_SCORE,
            )
            detector = mediapipe.tasks.vision.FaceDetector.create_from_options(options)
            # The library logs once more at one of the first pictures, at random.
            for height in range(_SIDE // 2, _SIDE, 4):
                detector.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.zeros((height, _SIDE, 3), np.uint8)))
            return detector

        self._mediapipe, self._model = open_task(create)
        self._closing = weakref.finalize(self, close_task, self._model)
        self._closing.atexit = False  # see `close_task`

    def find(self, image: np.ndarray) -> list[Face]:
        """Faces of an RGB picture uint8 `(H, W, 3)` of any size, the largest first."""
        picture = _View(image, np.eye(2, 3))
        candidates = list(self._detect(_shown(picture), MIN_SCORE))
        if not self.thorough:
            return self._look_again(image, candidates)
        picture = _resized(picture, _LARGEST_SIDE)
        faces: list[Face] = []
        for views, least in ((_tiles, _TILE_SCORE), (_bordered, MIN_SCORE), (_turned, _TILE_SCORE)):
            candidates += [face for view in views(picture) for face in self._detect(view, least)]
            faces = self._look_again(image, candidates)
            if faces and max(face.score for face in faces) >= _SURE_SCORE:
                break
        return faces

    def follow(self, image: np.ndarray, faces: Sequence[Face], glances: Sequence[int]) -> list[Face]:
        """Faces of the next frame of a video, tracked from those of the frame before.

        Args:
            image: RGB, uint8 `(H, W, 3)`.
            faces: Faces of the frame before.
            glances: Indices of the places where new faces are searched, counted on without end: first the whole
                picture, then squares of half its size (and smaller ones where the search is thorough).

        Returns:
            Known faces that are still present and new ones, the largest first.
        """
        candidates = list(faces)
        if glances:
            picture = _resized(_View(image, np.eye(2, 3)), _LARGEST_SIDE)
            squares = _squares(*picture.pixels.shape[:2])
            squares = [square for square in squares if self.thorough or square[2] == squares[0][2]]
            known = [face.box for face in faces]
            for turn in sorted({glance % (len(squares) + 1) for glance in glances}):
                if turn:
                    new = self._detect(_tile(picture, *squares[turn - 1]), _TILE_SCORE)
                else:  # small pictures have no squares
                    new = self._detect(_shown(picture), MIN_SCORE)
                candidates += [face for face in new if all(_overlap(face.box, box) < _OVERLAP for box in known)]
        return self._look_again(image, candidates)

    def close(self) -> None:
        """Frees the model."""
        self._closing()

    def __enter__(self) -> FaceFinder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look_again(self, image: np.ndarray, faces: Iterable[Face]) -> list[Face]:
        seen = []
        for face in _without_doubles(faces):
            matrix = crop_matrix(face.points, _SIDE, _SECOND_LOOK)
            shown = _View(warp(image, matrix, _SIDE, cv2.INTER_LINEAR), cv2.invertAffineTransform(matrix))
            again = self._detect(shown, MIN_SCORE)
            seen += sorted(again, key=lambda other: _overlap(face.box, other.box))[-1:]
        large = (face for face in _without_doubles(seen) if face.box[2] >= self.min_face)
        return sorted(large, key=lambda face: -face.area)

    def _detect(self, view: _View, least: float) -> Iterator[Face]:
        height, width = view.pixels.shape[:2]
        pixels = np.ascontiguousarray(view.pixels)
        result = self._model.detect(self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=pixels))
        linear, shift = view.to_picture[:, :2], view.to_picture[:, 2]
        scale = np.sqrt(abs(np.linalg.det(linear)))
        for detection in result.detections:
            if detection.categories[0].score < least:
                continue
            box = detection.bounding_box
            centre = linear @ (box.origin_x + box.width / 2, box.origin_y + box.height / 2) + shift
            width_in_picture = float(scale * box.width)
            corner = centre - width_in_picture / 2
            points = np.array([(point.x * width, point.y * height) for point in detection.keypoints])
            yield Face(
                (float(corner[0]), float(corner[1]), width_in_picture, width_in_picture),
                float(detection.categories[0].score),
                (points @ linear.T + shift).astype(np.float32),
            )


class WholePicture:
    """Face finder for pictures that show one cropped face each: the face is the central square."""

    def find(self, image: np.ndarray) -> list[Face]:
        """The one face of a picture `(H, W, 3)`; see `FaceFinder.find`."""
        height, width = image.shape[:2]
        side = float(min(height, width))
        return [Face(((width - side) // 2, (height - side) // 2, side, side), 1.0, np.zeros((0, 2), np.float32))]

    def follow(self, image: np.ndarray, faces: Sequence[Face], glances: Sequence[int]) -> list[Face]:
        """The one face of the next frame; see `FaceFinder.follow`."""
        return self.find(image)

    def close(self) -> None:
        """Frees nothing."""


def _shown(picture: _View) -> _View:
    """View in the input size of BlazeFace."""
    return _resized(picture, _SIDE)


def _resized(picture: _View, largest: int) -> _View:
    """View whose larger dimension is at most `largest`."""
    height, width = picture.pixels.shape[:2]
    scale = largest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    pixels = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    return _View(pixels, _then(np.diag((width / size[0], height / size[1])), np.zeros(2), picture))


def _then(linear: np.ndarray, shift: np.ndarray, picture: _View) -> np.ndarray:
    """Matrix of a view whose pixel p is the pixel `linear @ p + shift` of another view."""
    matrix = picture.to_picture
    return np.column_stack([matrix[:, :2] @ linear, matrix[:, :2] @ shift + matrix[:, 2]])


def _tiles(picture: _View) -> Iterator[_View]:
    """Squares of a picture, see `_squares`."""
    for square in _squares(*picture.pixels.shape[:2]):
        yield _tile(picture, *square)


def _tile(picture: _View, left: int, top: int, side: int) -> _View:
    pixels = picture.pixels[top : top + side, left : left + side]
    return _shown(_View(pixels, _then(np.eye(2), np.array((left, top)), picture)))


def _squares(height: int, width: int) -> list[tuple[int, int, int]]:
    """Left, top and size of squares of half the larger dimension, of a quarter, ..., which overlap by half."""
    squares = []
    side = max(height, width) // 2
    while side * _SMALLEST_SHARE >= _SMALLEST_FACE:
        squares += [(left, top, side) for top in _starts(height, side) for left in _starts(width, side)]
        side //= 2
    return squares


def _starts(length: int, side: int) -> list[int]:
    """Start positions of tiles that cover a length, each overlapping the next by half or more."""
    count = max(1, int(np.ceil(2 * length / side)) - 1)
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def _bordered(picture: _View) -> Iterator[_View]:
    border = round(_BORDER * max(picture.pixels.shape[:2]))
    pixels = cv2.copyMakeBorder(picture.pixels, border, border, border, border, cv2.BORDER_REPLICATE)
    yield _shown(_View(pixels, _then(np.eye(2), np.array((-border, -border)), picture)))


def _turned(picture: _View) -> Iterator[_View]:
    """Views rotated by 90, 180 and 270 degrees, each without and with a border."""
    height, width = picture.pixels.shape[:2]
    for quarters, linear, shift in (
        (1, ((0, -1), (1, 0)), (width, 0)),
        (2, ((-1, 0), (0, -1)), (width, height)),
        (3, ((0, 1), (-1, 0)), (0, height)),
    ):
        pixels = np.rot90(picture.pixels, quarters)
        turned = _View(pixels, _then(np.array(linear), np.array(shift), picture))
        yield _shown(turned)
        yield from _bordered(turned)


def _without_doubles(faces: Iterable[Face]) -> list[Face]:
    """Non-maximum suppression: the face of the highest score among those that overlap."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_overlap(face.box, other.box) < _OVERLAP for other in kept):
            kept.append(face)
    return kept


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection of two boxes as a share of the smaller one."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height) / max(min(one[2] * one[3], other[2] * other[3]), 1e-9)


def crop_matrix(points: np.ndarray, size: int, zoom: float = 1.0) -> np.ndarray:
    """Similarity `(2, 3)` from pixels of a picture to those of the crop of a face.

    Args:
        points: The six points `(6, 2)` in pixels of the picture.
        size: Height and width of the crop in pixels.
        zoom: Factor on the size of the face; 1 aligns the points to `KEYPOINTS`.
    """
    template = 0.5 + zoom * (KEYPOINTS[ALIGNED] - 0.5)
    return fit_similarity(points[ALIGNED], template * size)


def crop_faces(image: np.ndarray, faces: Sequence[Face], preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Upright crops uint8 `(N, S, S, C)` of faces, in the size and geometry of the training data.

    Args:
        image: RGB, uint8 `(H, W, 3)`.
        faces: N faces of the picture; one without points is the central square, resized as in training.
        preprocessing: `image_size` S and `channels` C of the training.
    """
    size, channels = preprocessing["image_size"], preprocessing["channels"]
    crops = [
        conform(warp(image, _matrix(face, size, image.shape), size) if len(face.points) else image, size, channels)
        for face in faces
    ]
    return np.array(crops, np.uint8).reshape(-1, size, size, channels)


def _matrix(face: Face, size: int, shape: tuple[int, ...]) -> np.ndarray:
    for zoom in _ZOOMS:
        matrix = crop_matrix(face.points, size, zoom)
        back = cv2.invertAffineTransform(matrix)
        seen = size * _GRID @ back[:, :2].T + back[:, 2]
        if ((seen < 0) | (seen > (shape[1], shape[0]))).any(axis=1).mean() <= _MAX_OUTSIDE:
            break
    return matrix
