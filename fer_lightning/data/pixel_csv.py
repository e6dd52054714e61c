"""CSV files with an image per row: `emotion,pixels,Usage` in any order, with or without `Usage`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from fer_lightning.data.samples import PixelRows
from fer_lightning.data.text_tables import column_places, plain_name, shown, whole_number
from fer_lightning.errors import UserError

_LONGEST_HEADER = 1 << 16


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
        path: The CSV file. Spaces and quotes around names and values are ignored (`icml_face_data.csv` has them), and
            so is the case of the names of columns.
        codes: Emotion codes run from 0 to `codes - 1`.
        usages: Accepted values of `Usage`.

    Raises:
        UserError: The columns `emotion` and `pixels` are missing, or the file is no such table.
    """
    rows: list[tuple[int, int, str]] = []
    places: list[tuple[int, int]] = []
    bad: list[str] = []
    # Read as bytes, because the pixels of a row are later found by their byte offset.
    with _open(path) as file:
        header = _read_header(path, file)
        delimiter = next((mark for mark in (b",", b";", b"\t") if mark in header), b",")
        columns = [plain_name(_plain(name)) for name in header.removeprefix(b"\xef\xbb\xbf").split(delimiter)]
        expected = "the labelled file with the columns emotion, pixels and mostly Usage"
        emotion, pixels = column_places(path, columns, ("emotion", "pixels"), expected)
        usage = column_places(path, columns, ("usage",), expected)[0] if "usage" in columns else None
        start = len(header)
        row = 0
        for line in file:
            fields = line.split(delimiter)
            if len(fields) == len(columns):
                code = _plain(fields[emotion])
                use = _plain(fields[usage]) if usage is not None else ""
                number = whole_number(code, 0, codes - 1)
                if number is None:
                    bad.append(f"{path} row {row + 1}: emotion {shown(code)} is not a code from 0 to {codes - 1}")
                elif usage is not None and use not in usages:
                    bad.append(f"{path} row {row + 1}: Usage {shown(use)} is not one of {', '.join(usages)}")
                elif usage is None and (parts := {_plain(field) for field in fields} & set(usages)):
                    raise UserError(
                        f"{path} has no column Usage, but row {row + 1} names the part {parts.pop()}: "
                        "call the column that holds the official parts Usage."
                    )
                else:
                    before = sum(len(field) + 1 for field in fields[:pixels])
                    text = fields[pixels].lstrip(b' "')
                    rows.append((row, number, use))
                    places.append((start + before + len(fields[pixels]) - len(text), len(text.rstrip(b' "\r\n'))))
            elif line.strip():
                bad.append(f"{path} row {row + 1}: {len(fields)} fields, expected {len(columns)}")
            row += bool(line.strip())
            start += len(line)
    frame = pd.DataFrame(rows, columns=["row", "code", "usage"])
    spans = np.array(places, dtype=np.int64).reshape(-1, 2)
    reader = PixelRows(path, spans[:, 0], spans[:, 1], frame["row"].to_numpy(np.int64) + 1)
    return PixelTable(frame, reader, tuple(bad))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _read_header(path: Path, file: BinaryIO) -> bytes:
    header = file.readline(_LONGEST_HEADER)
    if not header.strip():
        raise UserError(f"{path} is empty: expected the columns emotion, pixels and mostly Usage in its first line.")
    if b"\0" in header or header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is not UTF-8 text: save it in this encoding.")
    if not header.endswith(b"\n") or b"\r" in header.rstrip(b"\r\n"):
        raise UserError(
            f"{path} has a first line without an end, or ends its lines by a carriage return alone: save it with the "
            "line ends of Unix or Windows."
        )
    return header


def _plain(field: bytes) -> str:
    return field.decode("utf-8", "replace").strip(' "\r\n')
