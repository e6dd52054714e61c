"""What a dataset's files hold, before any pixel is decoded: a table of rows and a reader that decodes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from fer_lightning.data.image_decoding import UnreadableImage, read_image
from fer_lightning.data.labels import LabelSet

SPLITS = ("train", "val", "test")


class BadSample(Exception):
    """A row that cannot be used. The message names the file, the row and what was expected."""


class ImageReader(Protocol):
    """Decodes row `position` of a dataset. Implementations are picklable and safe to call from several threads."""

    def __len__(self) -> int: ...

    def read(self, position: int) -> np.ndarray:
        """Returns the image as uint8, `(H, W)` grey or `(H, W, 3)` RGB.

        Raises:
            BadSample: The image cannot be decoded.
        """
        ...

    def take(self, positions: np.ndarray) -> ImageReader:
        """The reader of some of the rows, in the given order."""
        ...

    def content_key(self) -> str:
        """Hash of what `read` depends on that is equal on every machine (file content, or names and sizes)."""
        ...

    def local_key(self) -> str:
        """Hash of what tells on this machine that the files were touched (modification times); keys the cache."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """Images in files.

    Attributes:
        root: Folder that the paths are relative to.
        paths: One path per row.
    """

    root: Path
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, position: int) -> np.ndarray:
        path = self.root / self.paths[position]
        try:
            return read_image(path)
        except UnreadableImage as error:
            raise BadSample(f"{path}: {error}.") from None

    def take(self, positions: np.ndarray) -> ImageFiles:
        """The reader of some of the rows, in the given order."""
        return ImageFiles(self.root, tuple(self.paths[position] for position in positions))

    def _stats(self) -> list[tuple[str, int, int]]:
        found = []
        for path in self.paths:
            try:
                stat = (self.root / path).stat()
                found.append((path, stat.st_size, stat.st_mtime_ns))
            except OSError:
                found.append((path, -1, 0))
        return found

    def content_key(self) -> str:
        return _digest(f"{path}:{size}" for path, size, _ in self._stats())

    def local_key(self) -> str:
        return _digest(f"{path}:{size}:{mtime}" for path, size, mtime in self._stats())


@dataclass(frozen=True)
class PixelRows:
    """Grey images as space-separated pixel values inside one CSV file.

    Attributes:
        path: The CSV file.
        offsets: Byte offset of the first pixel character of each row, `(N,)` int64.
        lengths: Number of bytes of each row's pixel text, `(N,)` int64.
        rows: Row number in the file of each row, counted from 1 without the header, for messages.
        side: Images are `side x side` pixels.
    """

    path: Path
    offsets: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray
    side: int = 48

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, position: int) -> np.ndarray:
        with self.path.open("rb") as file:
            file.seek(int(self.offsets[position]))
            text = file.read(int(self.lengths[position]))
        row = int(self.rows[position])
        count = len(text.split())
        if count != self.side * self.side:
            raise BadSample(f"{self.path} row {row}: {count} pixels, expected {self.side * self.side}.")
        # Checked by hand because fromstring stops quietly at what it cannot read; it is four times faster than int().
        values = np.fromstring(text, np.int64, sep=" ") if not text.translate(None, b"0123456789 ") else None
        if values is None or values.max() > 255:
            raise BadSample(f"{self.path} row {row}: a pixel is not a whole number from 0 to 255.")
        return values.astype(np.uint8).reshape(self.side, self.side)

    def take(self, positions: np.ndarray) -> PixelRows:
        """The reader of some of the rows, in the given order."""
        return replace(
            self, offsets=self.offsets[positions], lengths=self.lengths[positions], rows=self.rows[positions]
        )

    def content_key(self) -> str:
        # Only the rows that are used count: the same images in a longer file or under another header are the same data.
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            for offset, length in zip(self.offsets.tolist(), self.lengths.tolist()):
                file.seek(offset)
                digest.update(file.read(length) + b"\n")
        return digest.hexdigest()

    def local_key(self) -> str:
        stat = self.path.stat()
        return _digest([f"{self.path.name}:{stat.st_size}:{stat.st_mtime_ns}"])


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class Samples:
    """Every usable row of a dataset as it lies on disk.

    Attributes:
        frame: One row per image, in reader order, with the columns
            `id` (str, unique and the same on every machine),
            `label` (int, index into `label_set`),
            `official` (str, the release's own name of the split, for example `"PublicTest"`; `""` where it has none),
            `split` (str, `"train"`, `"val"`, `"test"` or `""`: what the official split is used for),
            `group` (str, subject or other unit that must not be divided between splits; the id where there is none).
        reader: Decodes the image of a row.
        label_set: The classes.
        release: Which layout was found, for example `"fer2013.csv"`.
        label_rule: How a label follows from the annotation, for example `"single label"` or `"FERPlus majority"`.
        distributions: Label distributions `(N, K)` float32 used as *training* targets, or None for single labels.
            Rows of validation and test splits are scored against `label`.
        bad: Messages of the rows that were left out (`data.on_bad_sample=skip`).
        expected: Official counts as `{official split name: {class: count}}`; empty where none are known.
        notes: Sentences a reader of the result must know, for example `"no subject ids: subjects may leak"`.
    """

    frame: pd.DataFrame
    reader: ImageReader
    label_set: LabelSet
    release: str
    label_rule: str = "single label"
    distributions: np.ndarray | None = None
    bad: tuple[str, ...] = ()
    expected: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
