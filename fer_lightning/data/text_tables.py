"""Tolerant readers of text tables, whole numbers, and CSV files with an image per row.

The latter have the columns `emotion,pixels,Usage` in any order, with or without `Usage`.
"""

from __future__ import annotations

import csv
import re
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from fer_lightning.data.samples import PixelRows
from fer_lightning.errors import UserError

MAX_BYTES = 1 << 30
_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,2})?")
_LONGEST_HEADER = 1 << 16


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, or UTF-16 with a byte order mark; all line ends become `"\\n"`.

    Raises:
        UserError: The file cannot be read, is empty, too large, or in another encoding.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} must be a file.")
        if status.st_size > MAX_BYTES:
            raise UserError(f"{path} has {status.st_size:,} bytes, too many for a table: expected the owner's file.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 text (line {line}): save it in this encoding.") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"{path} holds a NUL character (line {line}): save it as UTF-8 text.")
    if not text.strip():
        raise UserError(f"{path} is empty: expected the owner's file.")
    return text


def read_rows(path: Path) -> list[list[str]]:
    """Reads a table separated by commas, or by semicolons or tabs where its first line has no comma.

    Returns:
        The fields of every line that is not blank, without spaces around them. A line with unmatched quotes is a single
        field.

    Raises:
        UserError: See `read_text`.
    """
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    delimiter = next((mark for mark in ",;\t" if mark in lines[0]), ",")
    csv.field_size_limit(max(csv.field_size_limit(), MAX_BYTES))
    return [_fields(line, delimiter) for line in lines]


def _fields(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return [field.strip() for field in line.split(delimiter)]
    try:
        (fields,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        return [line]
    return [field.strip() for field in fields]


def column_places(path: Path, header: Sequence[str], needed: Sequence[str], expected: str) -> list[int]:
    """Indices of columns by name, whatever their case and spaces.

    Args:
        path: Path of the file, for messages.
        header: Names of its columns.
        needed: Names of the columns to find, in lower case.
        expected: Description of the expected file, for messages.

    Raises:
        UserError: A column is missing or repeated.
    """
    names = [plain_name(name) for name in header]
    if missing := [name for name in needed if name not in names]:
        raise UserError(
            f"{path} has no column {' and no column '.join(missing)} (found {', '.join(names)[:80]!r}): "
            f"expected {expected}."
        )
    for name in needed:
        if names.count(name) > 1:
            raise UserError(f"{path} has {names.count(name)} columns called {name}: keep the right one.")
    return [names.index(name) for name in needed]


def plain_name(name: str) -> str:
    """Name of a column in lower case, without quotes and with single spaces."""
    return " ".join(name.strip(' \t"\r\n').lower().split())


def whole_number(text: str, least: int, most: int) -> int | None:
    """Integer from `least` to `most` in the plain digits 0 to 9, None for any other text or number."""
    plain = text.strip(" \t")
    if not _WHOLE.fullmatch(plain):
        return None
    return int(plain) if least <= int(plain) <= most else None


def whole_decimal(text: str, least: int, most: int) -> int | None:
    """Like `whole_number`, for files that write `3.0000000e+00`; None for 3.9."""
    plain = text.strip(" \t\n")
    if not _DECIMAL.fullmatch(plain):
        return None
    value = float(plain)
    return int(value) if least <= value <= most and value == int(value) else None


def shown(text: str) -> str:
    """Field as shown in a message: quoted, escaped, and truncated where it is long."""
    return ascii(text) if len(text) <= 60 else f"{text[:60]!a}..."


@dataclass(frozen=True)
class PixelTable:
    """Usable rows of a pixel CSV; the pixels stay in the file.

    Attributes:
        frame: One row per image: `row` (int, position among the rows of the file, from 0), `code` (int, emotion code),
            `usage` (str, `""` where the file has no such column).
        reader: Reader of the images of `frame`.
        bad: One message for each row that is not in `frame`.
    """

    frame: pd.DataFrame
    reader: PixelRows
    bad: tuple[str, ...]


def read_pixel_csv(path: Path, codes: int, usages: Collection[str]) -> PixelTable:
    """Reads the labels of a pixel CSV and the byte offsets of its pixels, in a second for the 35,887 rows of FER2013.

    Args:
        path: CSV file. Spaces and quotes around names and values are ignored (`icml_face_data.csv` has them), and so is
            the case of column names.
        codes: Number of emotion codes, which run from 0 to `codes - 1`.
        usages: Accepted values of `Usage`.

    Raises:
        UserError: The columns `emotion` and `pixels` are missing, or the file is not such a table.
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
                    bad.append(f"{path} row {row + 1}: emotion must be a code from 0 to {codes - 1}; got {shown(code)}")
                elif usage is not None and use not in usages:
                    bad.append(f"{path} row {row + 1}: Usage must be one of {', '.join(usages)}; got {shown(use)}")
                elif usage is None and (parts := {_plain(field) for field in fields} & set(usages)):
                    raise UserError(
                        f"{path} has no column Usage, but row {row + 1} names the part {parts.pop()}: "
                        "rename the column of the official parts to Usage."
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
            f"{path} must have the line ends of Unix or Windows; its first line has no end, or a carriage return alone."
        )
    return header


def _plain(field: bytes) -> str:
    return field.decode("utf-8", "replace").strip(' "\r\n')
