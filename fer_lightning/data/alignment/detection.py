"""Landmarks of a whole data set, detected once in parallel processes and cached as a table."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fer_lightning.data.alignment.landmarker import MODEL_SHA256, Landmarker
from fer_lightning.data.alignment.landmarks import BLENDSHAPES
from fer_lightning.data.samples import BadSample, ImageReader, digest_of, refusal
from fer_lightning.data.store import track_once
from fer_lightning.errors import UserError
from fer_lightning.files import make_once

log = logging.getLogger(__name__)

DETECTION_VERSION = 1  # part of every key; increase it when Landmarker finds other points in the same image
_PART = 256  # rows that are saved, or lost to an interruption, together
_TABLE = "landmarks.parquet"
_COORDINATES = [f"{axis}{point}" for axis in "xy" for point in range(68)]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Landmarks of N images.

    Attributes:
        found: Whether a face was found, bool `(N,)`.
        points: float32 `(N, 68, 2)`, x and y in pixels of the source image (see `warp`), in iBUG order; NaN where
            no face was found.
        blendshapes: float32 `(N, 52)` in 0..1, in the order of `BLENDSHAPES`; NaN where no face was found.
    """

    found: np.ndarray
    points: np.ndarray
    blendshapes: np.ndarray

    def __len__(self) -> int:
        return len(self.found)

    def take(self, positions: np.ndarray) -> Landmarks:
        """Landmarks of the images at `positions`, in this order."""
        return Landmarks(self.found[positions], self.points[positions], self.blendshapes[positions])


def landmarks_key(content_key: str, local_key: str, ids: Iterable[str]) -> str:
    """Key of the cache folder of landmarks, which depend on the source images alone, not on the size of a store."""
    return digest_of((content_key, local_key, MODEL_SHA256, str(DETECTION_VERSION), *ids))[:20]


def detect_landmarks(
    reader: ImageReader,
    ids: Iterable[str],
    folder: Path,
    find_model: Callable[[], Path],
    workers: int,
    on_bad_sample: str,
) -> Landmarks:
    """Opens the landmarks in `folder`, detecting them first where they are missing.

    An interrupted call loses its unfinished parts; the next one continues from the finished ones. Two processes may
    call this at once: one works, the other waits.

    The folder holds `landmarks.parquet` with the columns `id`, `found`, `x0`..`x67`, `y0`..`y67` and the names of
    `BLENDSHAPES`.

    Args:
        reader: Reader of the rows, of which there is at least one.
        ids: Id of each row.
        folder: Folder of the landmarks; its name must contain the `landmarks_key`.
        find_model: Function that returns a verified `face_landmarker.task`; called where landmarks are missing.
        workers: Number of processes; 1 uses this one.
        on_bad_sample: `"raise"` stops at an image that cannot be decoded, `"skip"` records no face for it.

    Raises:
        UserError: The cache cannot be written, MediaPipe is not installed, an image cannot be decoded, or a process was
            killed or cannot start.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that imports the script which started it would wait for its parent, which waits for it.
        raise UserError(
            "Finding faces starts processes that import your script: guard it by if __name__ == '__main__'."
        )
    if not folder.exists():
        model_file = find_model()
        skip_bad = on_bad_sample == "skip"
        try:
            make_once(
                folder,
                lambda partial: _build(reader, list(ids), partial, model_file, workers, skip_bad),
                resume=True,
            )
        except BadSample as error:
            raise refusal([str(error)]) from None
    landmarks = _from_table(pd.read_parquet(folder / _TABLE))
    log.info("Faces found in %d of %d images: %s", landmarks.found.sum(), len(landmarks), folder / _TABLE)
    return landmarks


def _build(
    reader: ImageReader, ids: Sequence[str], folder: Path, model_file: Path, workers: int, skip_bad: bool
) -> None:
    for begun in folder.glob(".*"):
        begun.unlink()
    starts = range(0, len(reader), _PART)
    files = {start: folder / f"part_{start:09d}.parquet" for start in starts}
    if not (folder / _TABLE).exists():
        missing = [start for start in starts if not files[start].exists()]
        if len(missing) < len(starts):
            log.info("Continuing with %d of %d parts of an earlier run", len(starts) - len(missing), len(starts))
        with closing(_search(reader, missing, model_file, workers, skip_bad)) as parts:
            count = min(_PART * len(missing), len(reader))
            for start, landmarks in track_once(parts, "Finding faces", count, len(missing), f"kept in {folder.parent}"):
                _write(_to_table(ids[start : start + _PART], landmarks), files[start])
        _write(pd.concat([pd.read_parquet(file) for file in files.values()], ignore_index=True), folder / _TABLE)
    for file in files.values():
        file.unlink(missing_ok=True)


def _search(
    reader: ImageReader, starts: Sequence[int], model_file: Path, workers: int, skip_bad: bool
) -> Generator[tuple[int, Landmarks], None, None]:
    """Yields (first row, landmarks) of each part as it is finished, in any order."""
    parts = {start: reader.take(np.arange(start, min(start + _PART, len(reader)))) for start in starts}
    if not parts:
        return
    if workers == 1:
        with Landmarker(model_file) as landmarker:
            for start, part in parts.items():
                yield start, _find(part, landmarker, skip_bad)
        return
    # A landmarker hangs after a fork, and so may OpenCV and torch: the processes are spawned.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(parts)), context, _prepare_worker)
    try:
        futures = {pool.submit(_find_in_worker, part, model_file, skip_bad): start for start, part in parts.items()}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool:
        raise UserError(
            "A process that was finding faces was killed, perhaps for lack of memory, or could not import the script "
            "that started it: run it again with data.align_workers=1, which continues where this one stopped."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    cv2.setNumThreads(1)
    # Ctrl-C reaches all processes of a terminal at once: only the parent reports it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Workers of the pool would wait forever for a parent that was killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@cache
def _landmarker_of_process(model_file: Path) -> Landmarker:
    return Landmarker(model_file)


def _find_in_worker(reader: ImageReader, model_file: Path, skip_bad: bool) -> Landmarks:
    return _find(reader, _landmarker_of_process(model_file), skip_bad)


def _find(reader: ImageReader, landmarker: Landmarker, skip_bad: bool) -> Landmarks:
    landmarks = _nothing(len(reader))
    for row in range(len(reader)):
        try:
            face = landmarker.detect(reader.read(row))
        except BadSample:
            if not skip_bad:
                raise
            continue
        if face is not None:
            landmarks.found[row] = True
            landmarks.points[row] = face.points
            landmarks.blendshapes[row] = face.blendshapes
    return landmarks


def _nothing(count: int) -> Landmarks:
    return Landmarks(
        found=np.zeros(count, bool),
        points=np.full((count, 68, 2), np.nan, np.float32),
        blendshapes=np.full((count, len(BLENDSHAPES)), np.nan, np.float32),
    )


def _to_table(ids: Sequence[str], landmarks: Landmarks) -> pd.DataFrame:
    by_axis = landmarks.points.transpose(0, 2, 1).reshape(len(landmarks), -1)
    numbers = np.concatenate([by_axis, landmarks.blendshapes], axis=1)
    table = pd.DataFrame(numbers, columns=[*_COORDINATES, *BLENDSHAPES])
    table.insert(0, "id", np.asarray(ids, dtype=object))
    table.insert(1, "found", landmarks.found)
    return table


def _from_table(table: pd.DataFrame) -> Landmarks:
    by_axis = table[_COORDINATES].to_numpy(np.float32).reshape(len(table), 2, 68)
    return Landmarks(
        found=table["found"].to_numpy(bool),
        points=np.ascontiguousarray(by_axis.transpose(0, 2, 1)),
        blendshapes=table[list(BLENDSHAPES)].to_numpy(np.float32),
    )


def _write(table: pd.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        table.to_parquet(file, index=False)
        file.flush()
        os.fsync(file.fileno())  # a power failure could otherwise keep the rename and lose the content
    temporary.replace(path)
