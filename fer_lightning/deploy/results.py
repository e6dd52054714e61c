"""What was read in pictures and videos, as tables and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Column, Table

from fer_lightning.deploy.prediction import Prediction
from fer_lightning.report.whole_file import write_whole

_SHOWN = 40


@dataclass(frozen=True)
class FoundFace:
    """A prediction and where it comes from.

    Attributes:
        source: The picture, the video, or the camera.
        frame: Counted from 0; 0 in a photo.
        seconds: When the frame is shown; 0 in a photo.
        prediction: What was read; its crop is not kept.
    """

    source: str
    frame: int
    seconds: float
    prediction: Prediction


def found_faces(source: str, frame: int, seconds: float, predictions: Sequence[Prediction]) -> list[FoundFace]:
    """What was read in a picture or frame, without the crops: an hour of video has half a gigabyte of them."""
    nothing = np.empty((0, 0, 0), np.uint8)
    return [FoundFace(source, frame, seconds, replace(read, face=nothing)) for read in predictions]


def to_table(found: Sequence[FoundFace], classes: Sequence[str]) -> pd.DataFrame:
    """One row a face.

    Returns:
        The columns `source`, `frame`, `time` (seconds), `track`, `x`, `y`, `width`, `height` (pixels), `label`,
        `confidence`, `low_resolution`, and `prob_<class>` for every class.
    """
    columns = ["source", "frame", "time", "track", "x", "y", "width", "height", "label", "confidence", "low_resolution"]
    rows = []
    for face in found:
        read = face.prediction
        box = (round(number, 1) for number in read.box)
        place = (face.source, face.frame, round(face.seconds, 4), read.track, *box)
        rows.append((*place, read.label, read.confidence, read.low_resolution, *read.probabilities.values()))
    table = pd.DataFrame(rows, columns=[*columns, *(f"prob_{name}" for name in classes)])
    return table.astype({"track": "Int64"})


def write_results(
    folder: Path, found: Sequence[FoundFace], card: dict[str, Any], classes: Sequence[str], unread: dict[str, str]
) -> None:
    """Writes `predictions.csv` and `predictions.json`, whole or not at all.

    Args:
        folder: Made if it is not there.
        found: All faces.
        card: What is known of the network; it goes into the JSON file.
        classes: Its class names.
        unread: Why a source could not be read, by source.
    """
    table = to_table(found, classes)
    write_whole(folder / "predictions.csv", lambda path: table.to_csv(path, index=False))
    faces = [
        {
            "source": face.source,
            "frame": face.frame,
            "time": round(face.seconds, 4),
            "track": face.prediction.track,
            "box": [round(number, 1) for number in face.prediction.box],
            "label": face.prediction.label,
            "confidence": face.prediction.confidence,
            "low_resolution": face.prediction.low_resolution,
            "probabilities": face.prediction.probabilities,
        }
        for face in found
    ]
    whole = {"model": card, "classes": list(classes), "faces": faces, "unread": unread}
    text = json.dumps(whole, indent=1, ensure_ascii=False, default=str)
    write_whole(folder / "predictions.json", lambda path: path.write_text(text, encoding="utf-8"))


def photo_table(found: Sequence[FoundFace]) -> Table:
    """The faces of photos, for the terminal."""
    table = Table(
        Column("source", overflow="fold"), "face", "expression", title="Faces", title_justify="left", title_style="bold"
    )
    for name in ("confidence", "next", "pixels"):
        table.add_column(name, justify="right")
    number, before = 0, ""
    for face in found[:_SHOWN]:
        number = number + 1 if face.source == before else 1
        before = face.source
        read = face.prediction
        second = sorted(read.probabilities.items(), key=lambda item: -item[1])[1:2]
        table.add_row(
            face.source,
            str(number),
            read.label,
            f"{read.confidence:.1%}",
            "".join(f"{name} {value:.1%}" for name, value in second),
            f"{read.box[2]:.0f} (low)" if read.low_resolution else f"{read.box[2]:.0f}",
        )
    if len(found) > _SHOWN:
        table.caption = f"... and {len(found) - _SHOWN:,} more in predictions.csv"
    return table


def track_table(found: Sequence[FoundFace]) -> Table:
    """The people of a video, for the terminal: how long each was seen, and with which expressions."""
    table = Table(title="People", title_justify="left", title_style="bold")
    for name in ("track", "from", "to", "frames"):
        table.add_column(name, justify="right")
    table.add_column("expressions")
    faces = pd.DataFrame(
        [(face.prediction.track, face.seconds, face.prediction.label) for face in found],
        columns=["track", "seconds", "label"],
    )
    tracks = faces.groupby("track")
    for track in tracks.size().sort_values(ascending=False).index[:_SHOWN]:
        own = tracks.get_group(track)
        shares = own["label"].value_counts(normalize=True)
        told = ", ".join(f"{label} {share:.0%}" for label, share in shares.head(3).items())
        first, last = own["seconds"].min(), own["seconds"].max()
        table.add_row(str(track), f"{first:.1f} s", f"{last:.1f} s", f"{len(own):,}", told)
    if len(tracks) > _SHOWN:
        table.caption = f"... and {len(tracks) - _SHOWN:,} more in predictions.csv"
    return table
