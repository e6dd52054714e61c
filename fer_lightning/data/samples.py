"""What a dataset's files hold, before any pixel is decoded: a table of rows and a reader that decodes them.

Rows that cannot be used are refused, or left out with a message.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from fer_lightning.data.image_decoding import UnreadableImage, read_image
from fer_lightning.data.labels import LabelSet
from fer_lightning.errors import UserError, printable

SPLITS = ("train", "val", "test")
_LONGEST = 700  # characters of a message, whose path or field may be a stranger's


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


def refuse_or_skip(messages: Sequence[str], policy: str) -> tuple[str, ...]:
    """Applies `data.on_bad_sample` to the rows found bad.

    Args:
        messages: One message a bad row, naming its file and row.
        policy: `"raise"` or `"skip"`.

    Returns:
        The messages, for the report of what was skipped.

    Raises:
        UserError: There is a bad row and the policy is `"raise"`, or the policy is neither word.
    """
    if policy not in ("raise", "skip"):
        raise UserError(f"data.on_bad_sample={policy!r} is unknown: use raise or skip.")
    if messages and policy == "raise":
        raise refusal(messages)
    return tuple(printable(message)[:_LONGEST] for message in messages)


def refusal(messages: Sequence[str]) -> UserError:
    """The error for the rows found bad, in one sentence.

    Args:
        messages: One message a bad row, at least one.
    """
    more = f" ({len(messages) - 1} more like it)" if len(messages) > 1 else ""
    first = printable(messages[0])[:_LONGEST].rstrip(".")
    return UserError(f"{first}{more}; mend it or leave such rows out with data.on_bad_sample=skip.")


def listing_key(name: str) -> str:
    """What two spellings of one image have in common: upper and lower case, `./` and backslashes do not count."""
    return os.path.normpath(name.replace("\\", "/")).casefold()


def repeated_listings(keys: Sequence[str], labels: Sequence[object], places: Sequence[str]) -> dict[int, str]:
    """Finds images that are listed more than once.

    Of listings that agree the first is kept; of those that contradict each other none is: nobody knows the right one.

    Args:
        keys: `listing_key` of each listing.
        labels: Label of each listing.
        places: File and row of each listing, for messages.

    Returns:
        Position and message of each listing that is not kept.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        groups[key].append(position)
    bad = {}
    for positions in groups.values():
        if len(positions) < 2:
            continue
        first, *later = positions
        contradictory = len({labels[position] for position in positions}) > 1
        with_label = " with another label" if contradictory else ""
        for position in later:
            bad[position] = f"{places[position]}: this image is listed twice, before{with_label} in {places[first]}"
        if contradictory:
            bad[first] = f"{places[first]}: this image is listed twice, again{with_label} in {places[later[0]]}"
    return dict(sorted(bad.items()))


def empty_classes(frame: pd.DataFrame, label_set: LabelSet, source: Path) -> list[str]:
    """Names every class without a row in an official split.

    Args:
        frame: Has the columns `label` and `official`.
        label_set: The classes that every official split should have.
        source: The file or folder that the rows come from.

    Returns:
        One message for each empty class of each split.
    """
    messages = []
    for official, rows in frame.groupby("official", sort=False):
        found = set(rows["label"])
        where = f" in {official}" if official else ""
        messages += [
            f"{source}: class {name} has no image{where}"
            for label, name in enumerate(label_set.classes)
            if label not in found
        ]
    return messages
