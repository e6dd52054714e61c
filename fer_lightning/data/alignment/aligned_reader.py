"""Images of a dataset with their faces brought onto the template."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fer_lightning.data.alignment.detection import Landmarks
from fer_lightning.data.alignment.landmarks import RIGID, TEMPLATE
from fer_lightning.data.alignment.warp import fit_similarity, warp
from fer_lightning.data.samples import ImageReader

ALIGNMENT_VERSION = 1  # part of the content key; raise it when `read` yields other pixels from the same landmarks


@dataclass(frozen=True, eq=False)
class AlignedReader:
    """An `ImageReader` of aligned faces; images without a face stay as they are.

    Attributes:
        reader: Decodes the original images.
        landmarks: Their faces.
        size: Side of the aligned images in pixels.
    """

    reader: ImageReader
    landmarks: Landmarks
    size: int

    def __len__(self) -> int:
        return len(self.reader)

    def read(self, position: int) -> np.ndarray:
        """Returns a face resampled once from its source, uint8 `(size, size)` or `(size, size, 3)`.

        Brows, nose and eyes decide; an image without a face comes back in the size it has.

        Raises:
            BadSample: The image cannot be decoded.
        """
        image = self.reader.read(position)
        if not self.landmarks.found[position]:
            return image
        return warp(image, self.matrix(position), self.size)

    def matrix(self, position: int) -> np.ndarray:
        """The `(2, 3)` similarity from pixels of the source image of a found face to those of the aligned one."""
        return fit_similarity(self.landmarks.points[position, RIGID], TEMPLATE[RIGID] * self.size)

    def take(self, positions: np.ndarray) -> AlignedReader:
        """The reader of some of the rows, in the given order."""
        return AlignedReader(self.reader.take(positions), self.landmarks.take(positions), self.size)

    def content_key(self) -> str:
        digest = hashlib.sha256(f"{self.reader.content_key()} {self.size} {ALIGNMENT_VERSION}".encode())
        for array in (self.landmarks.points, TEMPLATE, RIGID):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def local_key(self) -> str:
        return self.reader.local_key()
