"""CSV files with an image per row: `emotion,pixels,Usage` in any order, with or without `Usage`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data.samples import PixelRows
from fer_lightning.errors import UserError


@dataclass(frozen=True)
class PixelTable:
    """The usable rows of a pixel CSV; the pixels stay in the file.

    Attributes:
        frame: One row per image: `row` (int, position among the rows of the file, from 0), `code` (int, emotion code),
            `usage` (str, `""` where the file has no such column).
        reader: Decodes the image of a row of `frame`.
        bad: One message for each row that is not in `frame`.
    """

    frame: pd.DataFrame
    reader: PixelRows
    bad: tuple[str, ...]


def read_pixel_csv(path: Path, codes: int, usages: Collection[str]) -> PixelTable:
    """Reads labels and the places of pixels; takes a second for the 35,887 rows of FER2013.

    Args:
        path: The CSV file. Spaces and quotes around names and values are ignored (`icml_face_data.csv` has them).
        codes: Emotion codes run from 0 to `codes - 1`.
        usages: Accepted values of `Usage`.

    Raises:
        UserError: The columns `emotion` and `pixels` are missing.
    """
    rows: list[tuple[int, int, str]] = []
    places: list[tuple[int, int]] = []
    bad: list[str] = []
    # Read as bytes, because the pixels of a row are later found by their byte offset.
    with path.open("rb") as file:
        header = file.readline()
        columns = [_plain(name) for name in header.removeprefix(b"\xef\xbb\xbf").split(b",")]
        if missing := [name for name in ("emotion", "pixels") if name not in columns]:
            raise UserError(
                f"{path} has no column {' and no column '.join(missing)} (found {', '.join(columns)[:80]!r}): "
                "expected the labelled file with the columns emotion, pixels and mostly Usage."
            )
        emotion, pixels = columns.index("emotion"), columns.index("pixels")
        usage = columns.index("Usage") if "Usage" in columns else None
        start = len(header)
        row = 0
        for line in file:
            fields = line.split(b",")
            if len(fields) == len(columns):
                code = _plain(fields[emotion])
                use = _plain(fields[usage]) if usage is not None else ""
                if not code.isdecimal() or int(code) >= codes:
                    bad.append(f"{path} row {row + 1}: emotion {code!r} is not a code from 0 to {codes - 1}")
                elif usage is not None and use not in usages:
                    bad.append(f"{path} row {row + 1}: Usage {use!r} is not one of {', '.join(usages)}")
                else:
                    before = sum(len(field) + 1 for field in fields[:pixels])
                    text = fields[pixels].lstrip(b' "')
                    rows.append((row, int(code), use))
                    places.append((start + before + len(fields[pixels]) - len(text), len(text.rstrip(b' "\r\n'))))
            elif line.strip():
                bad.append(f"{path} row {row + 1}: {len(fields)} fields, expected {len(columns)}")
            row += bool(line.strip())
            start += len(line)
    frame = pd.DataFrame(rows, columns=["row", "code", "usage"])
    spans = np.array(places, dtype=np.int64).reshape(-1, 2)
    reader = PixelRows(path, spans[:, 0], spans[:, 1], frame["row"].to_numpy(np.int64) + 1)
    return PixelTable(frame, reader, tuple(bad))


def _plain(field: bytes) -> str:
    return field.decode("utf-8", "replace").strip(' "\r\n')
