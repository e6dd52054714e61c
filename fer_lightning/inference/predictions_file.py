"""Predictions as tables, and as files that grow while a source is read."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from fer_lightning.errors import printable
from fer_lightning.files import write_whole, writing
from fer_lightning.inference.predictor import Prediction
from fer_lightning.plots.text import csv_cell

FILES = ("predictions.csv", "predictions.json")
_COLUMNS = ("source", "frame", "time", "track", "x", "y", "width", "height", "label", "confidence", "low_resolution")
_SHOWN = 40
_FLUSH_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class FoundFace:
    """A prediction and where it comes from.

    Attributes:
        source: Picture, video or camera.
        frame: Number of the frame, counted from 0; 0 in a photo.
        seconds: Time of the frame; 0 in a photo.
        prediction: Prediction of the face.
    """

    source: str
    frame: int
    seconds: float
    prediction: Prediction


class PredictionFiles:
    """Writer of `predictions.csv` and `predictions.json`, with one row and one object per face.

    Faces are written as they are found: at any time both files are valid and hold all but those of the last second,
    even if the process is killed. Until `close` is called with `complete=True`, the JSON file is marked as incomplete.

    Args:
        folder: Folder of the files; created if it does not exist.
        card: Card of the network, written to the JSON file.
        classes: Class names of the network.

    Attributes:
        unread: Reason why a source could not be read, by source.

    Raises:
        UserError: The files cannot be written, here and in every method.
    """

    def __init__(self, folder: Path, card: dict[str, Any], classes: Sequence[str]) -> None:
        self.unread: dict[str, str] = {}
        self._classes = tuple(classes)
        self._table = _GrowingFile(folder / FILES[0])
        self._table.add(_csv_row([*_COLUMNS, *(f"prob_{name}" for name in classes)]))
        self._tree = _GrowingFile(folder / FILES[1])
        self._tree.add(f'{{\n"model": {_json(card)},\n"classes": {_json(list(classes))},\n"faces": [')
        self._between = "\n"
        self._flush(complete=False)

    def add(self, faces: Sequence[FoundFace]) -> None:
        """Appends faces."""
        for face in faces:
            read = face.prediction
            box = [round(number, 1) for number in read.box]
            seconds = round(face.seconds, 4)
            track = "" if read.track is None else read.track
            row = (face.source, face.frame, seconds, track, *box, read.label, read.confidence, read.low_resolution)
            self._table.add(_csv_row([*row, *read.probabilities.values()]))
            whole = {
                "source": face.source,
                "frame": face.frame,
                "time": seconds,
                "track": read.track,
                "box": box,
                "label": read.label,
                "confidence": read.confidence,
                "low_resolution": read.low_resolution,
                "probabilities": read.probabilities,
            }
            self._tree.add(f"{self._between}{_json(whole)}")
            self._between = ",\n"
        if time.monotonic() - self._flushed >= _FLUSH_EVERY:
            self._flush(complete=False)

    def close(self, complete: bool) -> None:
        """Writes the remaining faces and closes the files.

        Args:
            complete: Whether the source was read to its end.
        """
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


class PhotoTable:
    """Terminal table of the first faces of photos, and their number."""

    def __init__(self) -> None:
        self.count = 0
        self._faces: list[FoundFace] = []

    def add(self, faces: Sequence[FoundFace]) -> None:
        """Adds the faces of a photo."""
        self.count += len(faces)
        self._faces += faces[: max(0, _SHOWN - len(self._faces))]

    def table(self) -> Table:
        """Table of the faces."""
        source = Column("source", overflow="fold")
        table = Table(source, "face", "expression", title="Faces", title_justify="left", title_style="bold")
        for name in ("confidence", "next", "pixels"):
            table.add_column(name, justify="right")
        number, before = 0, ""
        for face in self._faces:
            number = number + 1 if face.source == before else 1
            before = face.source
            read = face.prediction
            second = sorted(read.probabilities.items(), key=lambda item: -item[1])[1:2]
            table.add_row(
                Text(printable(face.source)),
                str(number),
                Text(printable(read.label)),
                f"{read.confidence:.1%}",
                Text("".join(f"{printable(name)} {value:.1%}" for name, value in second)),
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

    def add(self, faces: Sequence[FoundFace]) -> None:
        """Adds the faces of a frame."""
        self.count += len(faces)
        for face in faces:
            person = self._people.setdefault(face.prediction.track, _Person(face.seconds, face.seconds))
            person.last = face.seconds
            person.labels[face.prediction.label] += 1

    def table(self) -> Table:
        """Table of the people, in decreasing order of their number of frames."""
        table = Table(title="People", title_justify="left", title_style="bold")
        for name in ("track", "from", "to", "frames"):
            table.add_column(name, justify="right")
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
