"""Predictions of faces, pictures and videos: as objects, as tables, and as files that grow while a source is read."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_lightning.errors import UserError, printable
from fer_lightning.files import write_whole, writing
from fer_lightning.plots.text import csv_cell
from fer_lightning.results.protocol import AFFECT

if TYPE_CHECKING:
    import pandas as pd

UNCERTAIN = "uncertain"  # label where no class reaches the threshold
FILES = ("predictions.csv", "predictions.json")
_BOX = ("x", "y", "width", "height")
_RESULT = ("label", "confidence", "low_resolution")
_COLUMNS = ("source", "frame", "time", "track", *_BOX, *_RESULT)
_FIELDS = ("source", "frame", "time", "track", "box", *_RESULT, "probabilities")
_FLUSH_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class Prediction:
    """A face with its expression.

    Attributes:
        box: x and y of the upper left corner, width and height, in pixels of the picture.
        label: Most probable class, or `UNCERTAIN`.
        confidence: Largest probability.
        probabilities: Probability of every class, by name.
        face: Crop that was classified, uint8 `(S, S, C)`.
        track: Number of the person in a video; None in a photo.
        low_resolution: Whether the face has fewer pixels in the picture than the input of the network.
        valence: From -1, negative, to 1, positive; None if the network does not predict it.
        arousal: From -1, calm, to 1, excited; None if the network does not predict it.
    """

    box: tuple[float, float, float, float]
    label: str
    confidence: float
    probabilities: dict[str, float] = field(repr=False)
    face: np.ndarray = field(repr=False, compare=False)
    track: int | None = None
    low_resolution: bool = False
    valence: float | None = None
    arousal: float | None = None

    @property
    def affect(self) -> str:
        """Valence and arousal as in "valence +0.42, arousal -0.10"; empty if the network does not predict them."""
        return "" if self.valence is None else f"valence {self.valence:+.2f}, arousal {self.arousal:+.2f}"

    def __repr__(self) -> str:
        x, y, width, height = (round(number) for number in self.box)
        person = "" if self.track is None else f", track {self.track}"
        return f"Prediction({self.label} {self.confidence:.1%} at x={x} y={y}, {width}x{height} pixels{person})"


def predict(
    box: tuple[float, float, float, float],
    outputs: np.ndarray,
    classes: tuple[str, ...],
    threshold: float,
    face: np.ndarray,
    track: int | None = None,
) -> Prediction:
    """Prediction of a face from a row of `FaceClassifier.classify`; the label is `UNCERTAIN` below `threshold`."""
    probabilities, affect = outputs[: len(classes)], outputs[len(classes) :]
    best = int(np.argmax(probabilities))
    confidence = float(probabilities[best])
    return Prediction(
        box=box,
        label=classes[best] if confidence >= threshold else UNCERTAIN,
        confidence=confidence,
        probabilities={name: float(value) for name, value in zip(classes, probabilities)},
        face=face,
        track=track,
        low_resolution=min(box[2:]) < len(face),
        **{name: float(value) for name, value in zip(AFFECT, affect)},
    )


class Predictions(list[Prediction]):
    """Predictions of the faces of one picture, the largest face first.

    Args:
        predictions: Predictions of the faces.
        source: Path of the picture, or its number in a list.
        classes: Names of the classes.
        error: Reason why the picture could not be read; empty where it was.
        frame: Number of the frame of a video, counted from 0; None in a photo.
        seconds: Time of the frame.
    """

    def __init__(
        self,
        predictions: Iterable[Prediction],
        source: str,
        classes: Sequence[str],
        error: str = "",
        frame: int | None = None,
        seconds: float | None = None,
    ) -> None:
        super().__init__(predictions)
        self.source = source
        self.classes = tuple(classes)
        self.error = error
        self.frame = frame
        self.seconds = seconds

    def to_dicts(self) -> list[dict[str, Any]]:
        """One mapping a face, or one with `error` alone for a picture that could not be read.

        Its fields are `source`, `face` (the number in the picture, from 0), `frame`, `time` and `track` (None in a
        photo), `box`, `label`, `confidence`, `low_resolution`, `probabilities`, `error` and, if the network predicts
        them, `valence` and `arousal`.
        """
        if self.error:
            return [{"source": self.source, "error": self.error}]
        where = {"source": self.source, "frame": self.frame, "time": self.seconds}
        return [
            {
                **where,
                "face": number,
                "track": face.track,
                "box": face.box,
                "label": face.label,
                "confidence": face.confidence,
                "low_resolution": face.low_resolution,
                "probabilities": face.probabilities,
                "error": "",
                **{name: value for name in AFFECT if (value := getattr(face, name)) is not None},
            }
            for number, face in enumerate(self)
        ]

    def to_frame(self) -> pd.DataFrame:
        """Table of the faces, see `PredictionBatch.to_frame`."""
        return PredictionBatch([self]).to_frame()


class PredictionBatch(list[Predictions]):
    """Predictions of several pictures or frames, in their order."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """The mappings of all pictures, see `Predictions.to_dicts`."""
        return [row for picture in self for row in picture.to_dicts()]

    def to_frame(self) -> pd.DataFrame:
        """Table with one row a face, and one with `error` for each picture that could not be read.

        Its columns are the fields of `to_dicts` in the order of the CSV file of `fer predict`: the box is in `x`, `y`,
        `width` and `height`, and each class has a column `prob_<class>`. `frame`, `time` and `track` are left out where
        there is no video.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UserError("A table needs pandas: pip install pandas, or use to_dicts.") from None

        classes = self[0].classes if self else ()
        rows = [
            {
                **row,
                **dict(zip(_BOX, row.get("box", ()))),
                **{f"prob_{name}": share for name, share in row.get("probabilities", {}).items()},
            }
            for row in self.to_dicts()
        ]
        moment = ["frame", "time", "track"] if any(picture.frame is not None for picture in self) else []
        shares = (f"prob_{name}" for name in classes)
        affect = [name for name in AFFECT if any(name in row for row in rows)]
        table = pd.DataFrame(rows, columns=["source", "face", *moment, *_BOX, *_RESULT, *affect, *shares, "error"])
        return table.astype({name: "Int64" for name in ("face", "frame", "track") if name in table})


class PredictionFiles:
    """Writer of `predictions.csv` and `predictions.json`, with one row and one object per face.

    Faces are written as they are found: at any time both files are valid and hold all but those of the last second,
    even if the process is killed. Until `close` is called with `complete=True`, the JSON file is marked as incomplete.

    Args:
        folder: Folder of the files; created if it does not exist.
        card: Card of the network, written to the JSON file.
        classes: Class names of the network.
        has_affect: Whether the network predicts valence and arousal.

    Attributes:
        unread: Reason why a source could not be read, by source.

    Raises:
        UserError: The files cannot be written, here and in every method.
    """

    def __init__(self, folder: Path, card: dict[str, Any], classes: Sequence[str], has_affect: bool = False) -> None:
        self.unread: dict[str, str] = {}
        self._classes = tuple(classes)
        self._table = _GrowingFile(folder / FILES[0])
        self._affect = AFFECT if has_affect else ()
        self._table.add(_csv_row([*_COLUMNS, *self._affect, *(f"prob_{name}" for name in classes)]))
        self._tree = _GrowingFile(folder / FILES[1])
        self._tree.add(f'{{\n"model": {_json(card)},\n"classes": {_json(list(classes))},\n"faces": [')
        self._between = "\n"
        self._flush(complete=False)

    def add(self, predictions: Predictions) -> None:
        """Appends the faces of a picture or frame."""
        for row in predictions.to_dicts():
            row |= {"box": [round(number, 1) for number in row["box"]], "time": round(row["time"] or 0.0, 4)}
            row |= {"frame": row["frame"] or 0}
            flat = {**row, **dict(zip(_BOX, row["box"])), "track": "" if row["track"] is None else row["track"]}
            columns = (*_COLUMNS, *self._affect)
            self._table.add(_csv_row([*(flat[name] for name in columns), *row["probabilities"].values()]))
            self._tree.add(f"{self._between}{_json({name: row[name] for name in (*_FIELDS, *self._affect)})}")
            self._between = ",\n"
        if time.monotonic() - self._flushed >= _FLUSH_EVERY:
            self._flush(complete=False)

    def close(self, complete: bool) -> None:
        """Writes the remaining faces, and whether the source was read to its end, and closes the files."""
        try:
            self._flush(complete)
        finally:
            try:
                self._table.close()
            finally:
                self._tree.close()

    def _flush(self, complete: bool) -> None:
        self._table.flush("")
        self._tree.flush(f'\n],\n"unread": {_json(self.unread)},\n"complete": {_json(complete)}\n}}\n')
        self._flushed = time.monotonic()


class _GrowingFile:
    """Text file that grows before some last lines and is valid after every flush; an existing file is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._added = io.StringIO()
        self._kept = 0  # bytes in front of the last lines
        self._end = b""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # a link would write to another file
            self._file = path.open("x+b", buffering=0)

    def add(self, text: str) -> None:
        self._added.write(text)

    def flush(self, end: str) -> None:
        """Writes the added text and the last lines in one call."""
        added, last = self._added.getvalue().encode(), end.encode()
        spaces = max(0, len(self._end) - len(added) - len(last))  # overwrite the rest of the previous last lines
        try:
            with writing(self._path):
                self._put(added + last + b" " * spaces)
        except BaseException:
            with suppress(OSError):  # restore the previous content, for which there is space
                self._put(self._end)
                self._file.truncate()
            raise
        self._kept += len(added)
        self._end = last
        self._added = io.StringIO()

    def _put(self, content: bytes) -> None:
        self._file.seek(self._kept)
        while content:
            content = content[self._file.write(content) :]

    def close(self) -> None:
        with closing(self._file):
            if not self._path.exists():  # the folder was removed while the file was open
                self._file.seek(0)
                write_whole(self._path, lambda path: path.write_bytes(self._file.read()))


def _csv_row(values: Sequence[object]) -> str:
    """Line of a CSV file, without cells that a spreadsheet would run as formulas."""
    line = io.StringIO()
    cells = [csv_cell(printable(value)) if isinstance(value, str) else value for value in values]
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _json(value: object) -> str:
    """JSON in UTF-8, in which bytes of a name that is not UTF-8 are escaped."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return re.sub("[\ud800-\udfff]", lambda match: printable(match[0]).replace("\\", "\\\\"), text)
