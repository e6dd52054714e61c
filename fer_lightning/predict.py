"""`fer predict`: reads expressions in photos, videos and cameras."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fer_lightning.deploy.annotated_video import AnnotatedVideo
from fer_lightning.deploy.drawing import draw_predictions
from fer_lightning.deploy.picture import read_picture
from fer_lightning.deploy.predictor import Predictor
from fer_lightning.deploy.results import FoundFace, found_faces, photo_table, track_table, write_results
from fer_lightning.deploy.sources import Video, is_video, picture_files
from fer_lightning.deploy.video_reading import VideoReading
from fer_lightning.deploy.window import can_show, show
from fer_lightning.errors import UserError
from fer_lightning.report.whole_file import write_whole

log = logging.getLogger(__name__)

_SEARCHES = ("auto", "quick", "thorough")
# What PIL writes as well as it reads it; others become PNG.
_KEPT = (".jpg", ".jpeg", ".png")


def run(cfg: DictConfig) -> None:
    """Reads one source as configured.

    Args:
        cfg: Composed from `conf/predict.yaml`.

    Raises:
        UserError: The source or an option is refused, or nothing could be read.
    """
    source = _check(cfg)
    seen = _Seen(cfg, show=_wants_window(cfg))
    if is_video(source):
        with Video(source) as video, _open_predictor(cfg, thorough=cfg.search == "thorough") as predictor:
            seen.read_video(source, video, predictor)
    else:
        files = picture_files(Path(source))
        with _open_predictor(cfg, thorough=cfg.search != "quick") as predictor:
            seen.read_photos(source, files, predictor)


def _check(cfg: DictConfig) -> str:
    if cfg.source is None:
        raise UserError("source=... is missing: give a picture, a folder, a video, or a camera's number.")
    if cfg.search not in _SEARCHES:
        raise UserError(f"search={cfg.search} is unknown: use one of {', '.join(_SEARCHES)}.")
    if not 0 <= cfg.threshold <= 1:
        raise UserError(f"threshold={cfg.threshold} is no probability: use 0 to 1.")
    if cfg.smoothing < 0:
        raise UserError(f"smoothing={cfg.smoothing} is no time: use 0 or more seconds.")
    if cfg.max_faces < 1:
        raise UserError(f"max_faces={cfg.max_faces} leaves nothing to read: use 1 or more.")
    return str(Path(str(cfg.source)).expanduser())


def _wants_window(cfg: DictConfig) -> bool:
    if cfg.show and not can_show():
        log.warning("show=true is left aside: there is no display, or this OpenCV opens no windows.")
        return False
    return bool(cfg.show)


def _open_predictor(cfg: DictConfig, thorough: bool) -> Predictor:
    return Predictor(
        str(cfg.checkpoint),
        cfg.backend,
        cfg.max_faces,
        cfg.threshold,
        cfg.min_face,
        thorough=thorough,
        threads=cfg.threads,
    )


class _Seen:
    """What was read so far, and where it goes; written even where an error or the user ends the reading."""

    def __init__(self, cfg: DictConfig, show: bool) -> None:
        self.folder = Path(cfg.output_dir)
        self.annotate = bool(cfg.annotate)
        self.smoothing = float(cfg.smoothing)
        self.show = show
        self.found: list[FoundFace] = []
        self.unread: dict[str, str] = {}
        self.console = Console()

    def read_photos(self, source: str, files: list[Path], predictor: Predictor) -> None:
        root = Path(source) if Path(source).is_dir() else Path(source).parent
        read = 0
        try:
            with _progress() as progress:
                for file in progress.track(files, description="Reading pictures"):
                    name = str(file.relative_to(root))
                    if self._read_photo(file, name, predictor):
                        read += 1
                    elif len(files) > 1:
                        log.warning("%s", self.unread[name])
        finally:
            self._write(predictor)
        if not read:
            raise UserError(
                next(iter(self.unread.values()))
                if len(files) == 1
                else f"source={source}: none of its {len(files)} pictures could be read."
            )
        self.console.print(photo_table(self.found))
        faces = f"{len(self.found):,} face{'' if len(self.found) == 1 else 's'}"
        self._tell(f"{faces} in {read:,} of {len(files):,} picture{'' if len(files) == 1 else 's'}")

    def read_video(self, source: str, video: Video, predictor: Predictor) -> None:
        reading = VideoReading(predictor, self.smoothing)
        read = 0
        try:
            with _progress() as progress, AnnotatedVideo(self.folder / "annotated.mp4", video.rate) as annotated:
                for frame in progress.track(video.frames(), total=video.expected, description="Reading frames"):
                    predictions = reading.read(frame.pixels, frame.seconds)
                    self.found += found_faces(source, frame.number, frame.seconds, predictions)
                    read += 1
                    if self.annotate or self.show:
                        drawn = draw_predictions(frame.pixels, predictions)
                        if self.annotate:
                            annotated.write(drawn)
                        if self.show and not show(drawn):
                            break
        except KeyboardInterrupt:
            if video.expected is not None:  # a camera has no other end
                raise
        finally:
            self._write(predictor)
        if not read:
            raise UserError(f"source={source} holds no frame that can be read.")
        self.console.print(track_table(self.found))
        self._tell(f"{len(self.found):,} faces in {read:,} frames")

    def _read_photo(self, file: Path, name: str, predictor: Predictor) -> bool:
        try:
            picture = read_picture(file)
        except UserError as error:
            self.unread[name] = str(error)
            return False
        predictions = predictor(picture)
        self.found += found_faces(name, 0, 0.0, predictions)
        if self.annotate:
            self._save(draw_predictions(picture, predictions), Path(name))
        return True

    def _save(self, drawn: np.ndarray, relative: Path) -> None:
        name = relative.name if relative.suffix.lower() in _KEPT else f"{relative.name}.png"
        path = self.folder / "annotated" / relative.with_name(name)
        kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
        write_whole(path, lambda partial: Image.fromarray(drawn).save(partial, format=kind, quality=92))

    def _write(self, predictor: Predictor) -> None:
        write_results(self.folder, self.found, predictor.classifier.card, predictor.classes, self.unread)

    def _tell(self, counted: str) -> None:
        lines = [f"{counted}."]
        lines += [f"Marked:   {self.folder}/{'annotated.mp4' if self._has_video() else 'annotated'}"] * self.annotate
        lines += [f"Numbers:  {self.folder}/predictions.csv and .json"]
        for line in lines:
            self.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _has_video(self) -> bool:
        return (self.folder / "annotated.mp4").exists()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, transient=True)
