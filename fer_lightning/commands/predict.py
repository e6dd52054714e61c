"""`fer predict`: expressions of the faces in photos, videos and camera streams."""

from __future__ import annotations

import logging
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from rich import get_console
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fer_lightning.errors import UserError, printable, require_known
from fer_lightning.files import shown_path, write_whole
from fer_lightning.inference.annotate import AnnotatedVideo, can_show, draw_predictions, show
from fer_lightning.inference.predictions import FILES, Prediction, PredictionFiles, Predictions
from fer_lightning.inference.predictor import Predictor
from fer_lightning.inference.tracking import VideoReading
from fer_lightning.inference.video import ACCEPTED, FolderContent, Video, find_source, folder_content, is_video
from fer_lightning.plots.text import score_table
from fer_lightning.training.safetensors_weights import WEIGHTS, find_checkpoint

log = logging.getLogger(__name__)

_SEARCHES = ("auto", "quick", "thorough")
# Formats that PIL can write; others are saved as PNG.
_KEPT = (".jpg", ".jpeg", ".png")
_LONGEST_NAME = 255  # bytes, on most file systems
_NAMED = 5  # files listed in a warning
_SHOWN = 40  # rows of a table in the terminal


def run(cfg: DictConfig) -> None:
    """Predicts the expressions of one source.

    Raises:
        UserError: The source or an option is invalid, nothing could be read, or the results cannot be written.
    """
    _check(cfg)
    name = str(cfg.source)
    source = find_source(name)
    if isinstance(source, int) or (not source.is_dir() and is_video(source)):
        with Video(source) as video, _open_predictor(cfg, thorough=cfg.search == "thorough") as predictor:
            _read_video(cfg, name, video, predictor, is_camera=isinstance(source, int))
    else:
        content = folder_content(source) if source.is_dir() else FolderContent([source])
        _report_left_out(source, content)
        with _open_predictor(cfg, thorough=cfg.search != "quick") as predictor:
            _read_photos(cfg, source, content, predictor)


def _check(cfg: DictConfig) -> None:
    require_known("search", cfg.search, _SEARCHES)
    if not 0 <= cfg.threshold <= 1:
        raise UserError(f"threshold must be a probability between 0 and 1; got {cfg.threshold}.")
    if cfg.smoothing < 0:
        raise UserError(f"smoothing must be 0 or more seconds; got {cfg.smoothing}.")
    if cfg.max_faces < 1:
        raise UserError(f"max_faces must be at least 1; got {cfg.max_faces}.")


def _opens_window(cfg: DictConfig) -> bool:
    if cfg.show and not can_show():
        log.warning("show=true is ignored: there is no display, or OpenCV was built without windows.")
        return False
    return bool(cfg.show)


def _open_predictor(cfg: DictConfig, thorough: bool) -> Predictor:
    backend = cfg.backend
    is_shipped = find_checkpoint(cfg.checkpoint, backend=backend).parent == WEIGHTS
    if backend == "auto" and cfg.device == "cpu" and is_shipped and find_spec("onnxruntime"):
        backend = "onnxruntime"  # starts in a quarter of PyTorch's time, and this command needs no features
    options: Any = OmegaConf.to_container(cfg, resolve=True)
    return Predictor(
        str(cfg.checkpoint),
        backend,
        cfg.max_faces,
        cfg.threshold,
        cfg.min_face,
        thorough=thorough,
        threads=cfg.threads,
        batch_size=cfg.batch_size,
        device=cfg.device,
        providers=cfg.providers,
        tta=cfg.tta,
        prior=options["prior"],
        groups=options["groups"],
    )


def _report_left_out(folder: Path, content: FolderContent) -> None:
    """Logs the files of a folder that are not read, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for path, reason in content.unread.items():
        reasons.setdefault(reason, []).append(os.path.relpath(path, folder))
    for reason, names in reasons.items():
        log.warning("%s not read: each %s.", _listed(names), reason)
    if content.left_out:
        names = [os.path.relpath(path, folder) for path in content.left_out]
        log.info("%s left out: hidden, or written by fer; use source=... to read it.", _listed(names))
    if not content.pictures:
        unread = f" ({len(content.unread):,} files cannot be read)" if content.unread else ""
        raise UserError(f"source={folder} must contain pictures; got none{unread}: {ACCEPTED}.")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:_NAMED]))
    more = f" and {len(names) - _NAMED:,} more are" if len(names) > _NAMED else " is" if len(names) == 1 else " are"
    return shown + more


def _read_photos(cfg: DictConfig, folder: Path, content: FolderContent, predictor: Predictor) -> None:
    root = folder if folder.is_dir() else folder.parent
    files, read = content.pictures, 0
    table = PhotoTable()
    with _Reading(cfg, predictor, table) as reading:
        reading.files.unread |= {
            os.path.relpath(path, root): printable(f"{path} {reason}.") for path, reason in content.unread.items()
        }
        try:
            with _progress() as progress, closing(predictor.read(files)) as results:
                pictures = progress.track(results, total=len(files), description="Reading pictures")
                for file, (picture, predictions) in zip(files, pictures):
                    predictions.source = os.path.relpath(file, root)
                    if predictions.error:
                        reading.files.unread[predictions.source] = predictions.error
                        if len(files) > 1:
                            log.warning("%s", predictions.error)
                        continue
                    reading.add(predictions)
                    read += 1
                    if cfg.annotate:
                        _save(draw_predictions(picture, predictions), reading.folder / "annotated" / predictions.source)
        finally:
            marked = f"\nMarked:   {shown_path(reading.folder)}/annotated" if cfg.annotate and read else ""
            faces = f"{table.count:,} face{'' if table.count == 1 else 's'}"
            reading.summary = f"{faces} in {read:,} of {len(files):,} picture{'' if len(files) == 1 else 's'}.{marked}"
        if not read:
            reasons = [reading.files.unread[os.path.relpath(file, root)] for file in files]
            alone = len(files) == 1
            raise UserError(
                reasons[0]
                if alone
                else f"source={folder} must contain readable pictures; none of its {len(files)} could be read."
            )


def _save(drawn: np.ndarray, path: Path) -> None:
    name = path.name if path.suffix.lower() in _KEPT else f"{path.name}.png"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{path.name[:40]}_{zlib.crc32(os.fsencode(path.name)):08x}.png"
    path = path.with_name(name)
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    write_whole(path, lambda partial: Image.fromarray(drawn).save(partial, format=kind, quality=92))


def _read_video(cfg: DictConfig, source: str, video: Video, predictor: Predictor, is_camera: bool) -> None:
    following = VideoReading(predictor, float(cfg.smoothing))
    window = _opens_window(cfg)
    read = 0
    table = PeopleTable()
    with _Reading(cfg, predictor, table) as reading:
        try:
            with (
                _progress() as progress,
                AnnotatedVideo(reading.folder / "annotated.mp4", video.rate) as annotated,
                closing(following.read_all(video.frames(), source, is_live=is_camera or window)) as results,
            ):
                for frame, predictions in progress.track(results, video.expected, description="Reading frames"):
                    reading.add(predictions)
                    read += 1
                    if cfg.annotate or window:
                        drawn = draw_predictions(frame.pixels, predictions)
                        if cfg.annotate:
                            annotated.write(drawn, frame.seconds)
                        if window and not show(drawn):
                            reading.complete = is_camera
                            break
                else:
                    annotated.repeat_until(video.length)
        except KeyboardInterrupt:
            if not is_camera:  # Ctrl-C is the usual end of a camera
                raise
        finally:
            if video.broken:
                reading.files.unread[source] = f"{printable(source)} {video.broken}"
            is_written = cfg.annotate and annotated.path.is_file()
            marked = f"\nMarked:   {shown_path(reading.folder)}/annotated.mp4" if is_written else ""
            reading.summary = f"{table.count:,} faces in {read:,} frames.{marked}"
        if not read:
            raise UserError(f"source={source} must contain readable frames; got none.")


class _Reading:
    """Context manager of the predictions and their files, which are closed and summarised however reading ends."""

    def __init__(self, cfg: DictConfig, predictor: Predictor, table: PhotoTable | PeopleTable) -> None:
        self.folder = Path(cfg.output_dir)
        self.table = table
        self.files = PredictionFiles(
            self.folder, predictor.classifier.card, predictor.classes, predictor.classifier.has_affect
        )
        self.complete = True
        self.summary = ""

    def add(self, predictions: Predictions) -> None:
        self.table.add(predictions)
        self.files.add(predictions)

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.files.close(complete=kind is None and self.complete)
        finally:
            if self.table.count or kind is None:
                self._print()

    def _print(self) -> None:
        console = Console()
        console.print(self.table.table())
        for line in (*self.summary.splitlines(), f"Numbers:  {shown_path(self.folder)}/{FILES[0]} and .json"):
            console.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, transient=True, disable=not get_console().is_interactive)


class PhotoTable:
    """Terminal table of the first faces of photos, and their number."""

    def __init__(self) -> None:
        self.count = 0
        self._faces: list[tuple[str, int, Prediction]] = []

    def add(self, predictions: Predictions) -> None:
        """Adds the faces of a photo."""
        self.count += len(predictions)
        faces = [(predictions.source, number, face) for number, face in enumerate(predictions, start=1)]
        self._faces += faces[: max(0, _SHOWN - len(self._faces))]

    def table(self) -> Table:
        """Table of the faces."""
        table = score_table("Faces", ["source", "face", "expression"], ["confidence", "next", "pixels"])
        for name, number, read in self._faces:
            second = sorted(read.probabilities.items(), key=lambda item: -item[1])[1:2]
            table.add_row(
                Text(printable(name)),
                str(number),
                Text(printable(read.label)),
                f"{read.confidence:.1%}",
                Text("".join(f"{printable(label)} {value:.1%}" for label, value in second)),
                f"{read.box[2]:.0f} (low)" if read.low_resolution else f"{read.box[2]:.0f}",
            )
        if self.count > _SHOWN:
            table.caption = f"... and {self.count - _SHOWN:,} more in {FILES[0]}"
        return table


@dataclass
class _Person:
    first: float
    last: float
    labels: Counter[str] = field(default_factory=Counter)


class PeopleTable:
    """Terminal table of the people of a video, with the duration and the expressions of each."""

    def __init__(self) -> None:
        self.count = 0
        self._people: dict[int | None, _Person] = {}

    def add(self, predictions: Predictions) -> None:
        """Adds the faces of a frame."""
        self.count += len(predictions)
        seconds = predictions.seconds or 0.0
        for face in predictions:
            person = self._people.setdefault(face.track, _Person(seconds, seconds))
            person.last = seconds
            person.labels[face.label] += 1

    def table(self) -> Table:
        """Table of the people, in decreasing order of their number of frames."""
        table = score_table("People", [], ["track", "from", "to", "frames"])
        table.add_column("expressions")
        most = sorted(self._people.items(), key=lambda item: -item[1].labels.total())
        for track, person in most[:_SHOWN]:
            frames = person.labels.total()
            shares = (f"{printable(label)} {count / frames:.0%}" for label, count in person.labels.most_common(3))
            period = (f"{person.first:.1f} s", f"{person.last:.1f} s")
            table.add_row(str(track), *period, f"{frames:,}", Text(", ".join(shares)))
        if len(most) > _SHOWN:
            table.caption = f"... and {len(most) - _SHOWN:,} more in {FILES[0]}"
        return table
