"""Rows of a data set before any pixel is decoded, readers of their images, and the handling of bad rows."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from fer_lightning.data.image_decoding import UnreadableImage, read_image
from fer_lightning.data.labels import ClassGroups, LabelSet
from fer_lightning.errors import UserError, printable

SPLITS = ("train", "val", "test")
_LONGEST = 700  # characters of a message, which may quote an untrusted path or field


class BadSample(Exception):
    """A row that cannot be used. The message names the file, the row and what was expected."""


class ImageReader(Protocol):
    """Reader of the images of a data set. Implementations are picklable and thread-safe."""

    def __len__(self) -> int: ...

    def read(self, position: int) -> np.ndarray:
        """Returns the image as uint8, `(H, W)` grey or `(H, W, 3)` RGB.

        Raises:
            BadSample: The image cannot be decoded.
        """
        ...

    def take(self, positions: np.ndarray) -> ImageReader:
        """Reader of the rows at `positions`, in this order."""
        ...

    def content_key(self) -> str:
        """Hash of the content of the files (or names and sizes), equal on every machine."""
        ...

    def local_key(self) -> str:
        """Hash of the modification times on this machine; part of the cache key."""
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
        return ImageFiles(self.root, tuple(self.paths[position] for position in positions))

    def _stats(self) -> list[tuple[str, int, int]]:
        stats = []
        for path in self.paths:
            try:
                stat = (self.root / path).stat()
                stats.append((path, stat.st_size, stat.st_mtime_ns))
            except OSError:
                stats.append((path, -1, 0))
        return stats

    def content_key(self) -> str:
        return digest_of(f"{path}:{size}" for path, size, _ in self._stats())

    def local_key(self) -> str:
        return digest_of(f"{path}:{size}:{mtime}" for path, size, mtime in self._stats())


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
        # Validated first because fromstring silently stops at invalid text; it is four times faster than int().
        values = np.fromstring(text, np.int64, sep=" ") if not text.translate(None, b"0123456789 ") else None
        if values is None or values.max() > 255:
            raise BadSample(f"{self.path} row {row}: a pixel is not a whole number from 0 to 255.")
        return values.astype(np.uint8).reshape(self.side, self.side)

    def take(self, positions: np.ndarray) -> PixelRows:
        return replace(
            self, offsets=self.offsets[positions], lengths=self.lengths[positions], rows=self.rows[positions]
        )

    def content_key(self) -> str:
        # Only used rows count: the same images in a longer file or with another header are the same data.
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            for offset, length in zip(self.offsets.tolist(), self.lengths.tolist()):
                file.seek(offset)
                digest.update(file.read(length) + b"\n")
        return digest.hexdigest()

    def local_key(self) -> str:
        stat = self.path.stat()
        return digest_of([f"{self.path.name}:{stat.st_size}:{stat.st_mtime_ns}"])


def digest_of(lines: Iterable[str]) -> str:
    """SHA-256 of lines, in hexadecimal."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class Samples:
    """Usable rows of a data set as stored on disk.

    Attributes:
        frame: One row per image, in reader order, with the columns
            `id` (str, unique and the same on every machine),
            `label` (int, index into `label_set`),
            `official` (str, the release's name of the split, for example `"PublicTest"`; `""` where it has none),
            `split` (str, `"train"`, `"val"`, `"test"` or `""`: the use of the official split),
            `group` (str, subject or other unit that must not be divided between splits; the id where there is none).
        reader: Reader of the images.
        label_set: Label set of the task.
        release: Name of the layout, for example `"fer2013.csv"`.
        label_rule: Rule that derives a label from the annotation, such as `"single label"` or `"FERPlus majority"`.
        distributions: Label distributions `(N, K)` float32 used as *training* targets, or None for single labels.
            Rows of validation and test splits are scored against `label`.
        bad: Messages of the rows that were skipped (`data.on_bad_sample=skip`).
        expected: Official counts as `{official split name: {class: count}}`; empty where none are known.
        notes: Notes for a reader of the result, for example `"no subject ids: subjects may leak"`.
        attributes: Reads attributes of the people on the images with these ids (see `read_attributes`); None where the
            release has none.
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
    attributes: Callable[[Sequence[str]], pd.DataFrame] | None = None

    def grouped(self, groups: ClassGroups) -> Samples:
        """Samples whose classes are groups of classes; rows of a class that is left out are dropped.

        The label distribution of a row is that of its groups, without the classes that are left out.
        """
        kept = np.flatnonzero(groups.membership[self.frame["label"]].any(axis=1))
        frame = self.frame.iloc[kept].reset_index(drop=True)
        distributions = self.distributions
        if distributions is not None:
            distributions = groups.probabilities(distributions[kept])
        names = self.label_set.classes
        expected = {
            split: {
                group: sum(count for name, count in counts.items() if groups.membership[names.index(name), number])
                for number, group in enumerate(groups.label_set.classes)
            }
            for split, counts in self.expected.items()
        }
        return replace(
            self,
            frame=frame.assign(label=groups.membership[frame["label"]].argmax(axis=1)),
            reader=self.reader.take(kept),
            label_set=groups.label_set,
            label_rule=f"{self.label_rule}, {groups.name}",
            distributions=distributions,
            expected=expected,
        )

    def unexpected_counts(self) -> pd.DataFrame:
        """Differences of these rows from the official counts.

        Returns:
            The columns `split`, `class`, `official` and `found`, one row per difference.
        """
        sizes = self.frame.groupby(["official", "label"]).size()
        rows = [
            (split, name, official, int(sizes.get((split, self.label_set.index(name)), 0)))
            for split, counts in self.expected.items()
            if (self.frame["official"] == split).any()
            for name, official in counts.items()
        ]
        table = pd.DataFrame(rows, columns=["split", "class", "official", "found"])
        return table[table["official"] != table["found"]]


def refuse_or_skip(messages: Sequence[str], policy: str) -> tuple[str, ...]:
    """Applies the policy `data.on_bad_sample` to the messages of bad rows, each of which names its file and row.

    Returns:
        The messages, for the report of skipped rows.

    Raises:
        UserError: There is a bad row and the policy is `"raise"`, or the policy is unknown.
    """
    if policy not in ("raise", "skip"):
        raise UserError(f"data.on_bad_sample must be raise or skip; got {policy!r}.")
    if messages and policy == "raise":
        raise refusal(messages)
    return tuple(printable(message)[:_LONGEST] for message in messages)


def refusal(messages: Sequence[str]) -> UserError:
    """Error for bad rows, of which there is at least one message."""
    more = f" ({len(messages) - 1} more like it)" if len(messages) > 1 else ""
    first = printable(messages[0])[:_LONGEST].rstrip(".")
    return UserError(f"{first}{more}; correct it, or skip such rows with data.on_bad_sample=skip.")


def listing_key(name: str) -> str:
    """Normal form of the path of an image, which ignores case, `./` and backslashes."""
    return os.path.normpath(name.replace("\\", "/")).casefold()


def repeated_listings(keys: Sequence[str], labels: Sequence[object], places: Sequence[str]) -> dict[int, str]:
    """Finds images that are listed more than once.

    The first of several listings with the same label is kept; listings with different labels are all rejected.

    Args:
        keys: `listing_key` of each listing.
        labels: Label of each listing.
        places: File and row of each listing, for messages.

    Returns:
        Position and message of each rejected listing.
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
    """One message for each class without a row in an official split of a table (`Samples.frame`) from a source."""
    return [
        f"{source}: class {name} has no image{f' in {official}' if official else ''}"
        for official, rows in frame.groupby("official", sort=False)
        for label, name in enumerate(label_set.classes)
        if label not in set(rows["label"])
    ]
