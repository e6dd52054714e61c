"""Stores of decoded images: packed once into a memory-mapped file, or decoded on every access."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from rich import get_console, progress

from fer_lightning.data.image_decoding import conform
from fer_lightning.data.samples import BadSample, ImageReader, digest_of, refusal
from fer_lightning.errors import UserError
from fer_lightning.files import make_once

STORE_VERSION = 1  # part of every cache key; increase it when the output of `conform` or a reader changes
_CHUNK = 64
_IMAGES = "images.npy"
_BAD = "bad.json"
_MANY = 1000  # images from which on work that is done once is announced
_LONG = 60  # seconds
_Part = TypeVar("_Part")
log = logging.getLogger(__name__)


class Images(Protocol):
    """Images of equal size by row number."""

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Returns uint8 `(len(rows), size, size, channels)`."""
        ...


@dataclass(frozen=True)
class LazyImages:
    """Images decoded from the original files on every access, for data sets too large to pack."""

    reader: ImageReader
    size: int
    channels: int

    def batch(self, rows: np.ndarray) -> np.ndarray:
        try:
            return np.stack([conform(self.reader.read(int(row)), self.size, self.channels) for row in rows])
        except BadSample as error:
            raise refusal([str(error)]) from None


class PackedImages:
    """Memory-mapped uint8 array of all images, whose pages are shared between processes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _IMAGES
        self._images = np.load(self._path, mmap_mode="r")

    def batch(self, rows: np.ndarray) -> np.ndarray:
        return self._images[rows]

    def __getstate__(self) -> dict[str, Path]:
        # A pickled memmap is a full copy: worker processes open the file themselves.
        return {"_path": self._path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self._path = state["_path"]
        self._images = np.load(self._path, mmap_mode="r")


def cache_key(content_key: str, local_key: str, ids: Iterable[str], size: int, channels: int) -> str:
    """Key of the cache folder of a store: two stores of one key hold the same pixels.

    The content key of the reader is an argument because it costs a pass over the data.
    """
    return digest_of((content_key, local_key, str(size), str(channels), str(STORE_VERSION), *ids))[:20]


def pack(reader: ImageReader, folder: Path, size: int, channels: int) -> tuple[PackedImages, dict[int, str]]:
    """Opens the packed store in `folder`, building it first where it is missing.

    Two processes may call this at once: one builds, the other waits. A process that is killed leaves no partial store.

    Args:
        reader: Reader of the rows.
        folder: Folder of the store; its name must contain the `cache_key`.
        size: Height and width of the images in pixels.
        channels: Number of channels, 1 or 3.

    Returns:
        The store, and the message of every row that could not be decoded (its image is black).

    Raises:
        UserError: The disk has too little space, or the cache cannot be written.
    """
    make_once(folder, lambda partial: _build(reader, partial, size, channels))
    return PackedImages(folder), _read_messages(folder)


def _read_messages(folder: Path) -> dict[int, str]:
    return {int(row): message for row, message in json.loads((folder / _BAD).read_text()).items()}


def _build(reader: ImageReader, folder: Path, size: int, channels: int) -> None:
    count = len(reader)
    needed = count * size * size * channels
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(
            f"Packing {count} images needs {needed / 1e9:.1f} GB in {folder.parent}, where {free / 1e9:.1f} GB are "
            "free: set data.cache_dir to another disk, or decode while training with data.store=files."
        )
    bad: dict[int, str] = {}
    # Written as a stream: writing into a memory map would end in a bus error on a disk that fills up.
    with (folder / _IMAGES).open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, channels)}
        np.lib.format.write_array_header_1_0(file, header)
        purpose = f"{needed / 1e9:.2f} GB in {folder.parent}"
        for images, messages in _decoded(reader, size, channels, purpose):
            file.write(images.data)
            bad.update(messages)
        file.flush()
        os.fsync(file.fileno())  # a power failure could otherwise keep the rename and lose the pixels
    (folder / _BAD).write_text(json.dumps(bad))


def find_undecodable(reader: ImageReader, folder: Path) -> dict[int, str]:
    """Message of every row that cannot be decoded; for `data.store=files` with `data.on_bad_sample=skip`.

    The result is cached in the folder, whose name must contain the `cache_key`.
    """

    def make(partial: Path) -> None:
        bad: dict[int, str] = {}
        for _, messages in _decoded(reader, 1, 1, "to find those that cannot be read"):
            bad.update(messages)
        (partial / _BAD).write_text(json.dumps(bad))

    make_once(folder, make)
    return _read_messages(folder)


def _decoded(
    reader: ImageReader, size: int, channels: int, purpose: str
) -> Iterator[tuple[np.ndarray, dict[int, str]]]:
    """Yields (images, messages of bad rows) chunk by chunk in order, decoded in parallel threads."""

    def decode(start: int) -> tuple[np.ndarray, dict[int, str]]:
        stop = min(start + _CHUNK, len(reader))
        images = np.zeros((stop - start, size, size, channels), np.uint8)
        messages = {}
        for row in range(start, stop):
            try:
                images[row - start] = conform(reader.read(row), size, channels)
            except BadSample as error:
                messages[row] = str(error)
        return images, messages

    starts = range(0, len(reader), _CHUNK)
    threads = available_cores()
    window = 2 * threads  # chunks in flight, which bounds the memory of decoded images
    with ThreadPoolExecutor(threads) as pool:
        blocks = range(0, len(starts), window)
        for block in track_once(blocks, "Decoding images", len(reader), len(blocks), purpose):
            yield from pool.map(decode, starts[block : block + window])


def track_once(parts: Iterable[_Part], work: str, count: int, total: int, purpose: str) -> Iterator[_Part]:
    """Yields the parts of long work that is done once for a data set, under a progress bar.

    Work on many images is logged before it begins, and after a twentieth the time that it takes, because a bar is not
    shown in a log file.

    Args:
        parts: The parts, each of which is done when the next one is requested.
        work: Name of the work.
        count: Number of images.
        total: Number of parts.
        purpose: What the work is for, or where its result is stored.
    """
    if count >= _MANY:
        log.info("%s, once: %s images, %s", work, f"{count:,}", purpose)
    began, first = time.monotonic(), max(total // 20, min(available_cores(), total - 1), 1)  # cores end parts together
    for number, part in enumerate(track(parts, work, total), start=1):
        yield part
        seconds = (time.monotonic() - began) * (total - number) / number
        if number == first and count >= _MANY and seconds > _LONG:
            log.info("%s: about %.0f minutes", work, seconds / 60)


def track(parts: Iterable[_Part], work: str, total: int | None = None, shown: bool = True) -> Iterable[_Part]:
    """Parts of some work under a progress bar, which leaves the terminal when the work is done.

    Args:
        parts: The parts, each of which is done when the next one is requested.
        work: Name of the work.
        total: Number of parts; None for their length.
        shown: Whether the bar is shown in a terminal. In a log file, it would only end in an empty line.
    """
    console = get_console()
    shown = shown and (console.is_interactive or console.is_jupyter)
    return progress.track(parts, work, total=total, transient=True, disable=not shown)


def available_cores() -> int:
    """Number of cores available to the process, which a container or a cluster job may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
