"""Decoded images: packed once into a memory-mapped file, or decoded from the original files on every access."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from rich.progress import track

from fer_lightning.data.samples import BadSample, ImageReader, refusal
from fer_lightning.errors import UserError
from fer_lightning.files import make_once

STORE_VERSION = 1  # part of every cache key; raise it when `conform` or a reader changes what it yields
_CHUNK = 64
_IMAGES = "images.npy"
_BAD = "bad.json"


class Images(Protocol):
    """Images of equal size by row number."""

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Returns uint8 `(len(rows), size, size, channels)`."""
        ...


def conform(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Brings an image to the size and number of channels of a store.

    The centre square is kept, resized by area when it shrinks and bicubically when it grows.

    Args:
        image: uint8 `(H, W)` or `(H, W, 3)` RGB.
        size: Side of the result in pixels.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 `(size, size, channels)`.
    """
    if image.ndim == 3 and channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    elif image.ndim == 2 and channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[top : top + side, left : left + side]
    if side != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    return image.reshape(size, size, channels)


@dataclass(frozen=True)
class LazyImages:
    """Decodes from the original files on every access, for datasets too large to pack."""

    reader: ImageReader
    size: int
    channels: int

    def batch(self, rows: np.ndarray) -> np.ndarray:
        try:
            return np.stack([conform(self.reader.read(int(row)), self.size, self.channels) for row in rows])
        except BadSample as error:
            raise refusal([str(error)]) from None


class PackedImages:
    """A memory-mapped uint8 array of all images; pages are shared between processes and given back under pressure."""

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
    """Names the cache folder of a store: two stores of one key hold the same pixels.

    Args:
        content_key: That of the reader; an argument because it costs a pass over the data that callers need anyway.
        local_key: That of the reader.
        ids: Id of each row.
        size: Side of the images in pixels.
        channels: 1 or 3.
    """
    digest = hashlib.sha256()
    for part in (content_key, local_key, str(size), str(channels), str(STORE_VERSION), *ids):
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()[:20]


def pack(reader: ImageReader, folder: Path, size: int, channels: int) -> tuple[PackedImages, dict[int, str]]:
    """Opens the packed store in `folder`, building it first where it is missing.

    Two processes may call this at once: one builds, the other waits. A kill leaves nothing that a later call would take
    for a finished store.

    Args:
        reader: Decodes the rows.
        folder: Where the store lives; its name must hold the `cache_key`.
        size: Side of the images in pixels.
        channels: 1 or 3.

    Returns:
        The store, and the message of every row that could not be decoded (its image is black).

    Raises:
        UserError: The disk has too little room, or the cache cannot be written.
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
            f"Packing {count} images needs {needed / 1e9:.1f} GB in {folder.parent} and {free / 1e9:.1f} GB are free: "
            "point data.cache_dir at another disk or decode while training with data.store=files."
        )
    bad: dict[int, str] = {}
    # Written as a stream: on a disk that fills up meanwhile, writing into a memory map would end in a bus error.
    with (folder / _IMAGES).open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, channels)}
        np.lib.format.write_array_header_1_0(file, header)
        for images, messages in _decoded(reader, size, channels):
            file.write(images.data)
            bad.update(messages)
        file.flush()
        os.fsync(file.fileno())  # else the rename could outlive the pixels when the power fails
    (folder / _BAD).write_text(json.dumps(bad))


def find_undecodable(reader: ImageReader, folder: Path) -> dict[int, str]:
    """Decodes every row once and remembers which cannot be; for `data.store=files` with `data.on_bad_sample=skip`.

    Args:
        reader: Decodes the rows.
        folder: Where the answer is remembered; its name must hold the `cache_key`.

    Returns:
        The message of every row that could not be decoded.
    """

    def make(partial: Path) -> None:
        bad: dict[int, str] = {}
        for _, messages in _decoded(reader, 1, 1):
            bad.update(messages)
        (partial / _BAD).write_text(json.dumps(bad))

    make_once(folder, make)
    return _read_messages(folder)


def _decoded(reader: ImageReader, size: int, channels: int) -> Iterator[tuple[np.ndarray, dict[int, str]]]:
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
    window = 2 * threads  # chunks handed out at a time, so that decoded images never pile up before they are written
    with ThreadPoolExecutor(threads) as pool:
        for block in track(range(0, len(starts), window), description="Decoding images", transient=True):
            yield from pool.map(decode, starts[block : block + window])


def available_cores() -> int:
    """Cores that the process may run on, which a container or a cluster job may hold below those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
