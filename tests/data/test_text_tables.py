from __future__ import annotations

import os

import numpy as np
import pytest

from fer_lightning.data.text_tables import (
    column_places,
    read_pixel_csv,
    read_rows,
    read_text,
    shown,
    whole_decimal,
    whole_number,
)
from fer_lightning.errors import UserError

USAGES = ("Training", "PublicTest")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    path = tmp_path / "list.csv"
    path.write_bytes(f"image,label{end}é.jpg,3{end}{end}".encode(encoding))
    assert read_rows(path) == [["image", "label"], ["é.jpg", "3"]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n\xe9,1\n", r"list\.csv is not UTF-8 text \(line 2\)"),
        ("a,b\n".encode("utf-16-le"), r"list\.csv holds a NUL character"),
        (b"", r"list\.csv is empty"),
        (b" \n\n", r"list\.csv is empty"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, told):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_text(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, told in (
        (tmp_path, "must be a file"),
        (tmp_path / "pipe", "must be a file"),
        (tmp_path / "no", "No such"),
    ):
        with pytest.raises(UserError, match=told):
            read_text(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path / ("x" * 300))


def test_long_fields_quotes_and_delimiters(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f'a, "(0, 0)",{"9" * 200_000}\nx,"open,1\n')
    assert read_rows(path) == [["a", "(0, 0)", "9" * 200_000], ['x,"open,1']]
    path.write_text("a;b\n1;2\n")
    assert read_rows(path) == [["a", "b"], ["1", "2"]]


def test_columns_are_found_whatever_their_case(tmp_path):
    assert column_places(tmp_path, [" Usage", '"Image  name"'], ["image name", "usage"], "a list") == [1, 0]
    with pytest.raises(UserError, match="has 2 columns called usage"):
        column_places(tmp_path, ["Usage", "usage"], ["usage"], "a list")
    with pytest.raises(UserError, match=r"has no column label \(found 'image'\): expected a list"):
        column_places(tmp_path, ["image"], ["label"], "a list")


WRONG = (
    "3.9",
    "inf",
    "nan",
    "1e400",
    "-1",
    "+3",
    "1_000",
    "0x3",
    "\uff13",
    "\u0663",
    "",
    " ",
    "9" * 5000,
    "8",
    "3\x00",
    "3\u00a0",
)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_whole_number_in_range(text):
    assert whole_number(text, 0, 7) is None
    assert whole_decimal(text, 0, 7) is None


def test_whole_numbers():
    assert [whole_number(text, 0, 7) for text in ("0", "7", " 3 ", "003")] == [0, 7, 3, 3]
    assert whole_number("3.0", 0, 7) is None
    assert [whole_decimal(text, 1, 7) for text in ("   3.0000000e+00\n", "3", "3.", "30e-1")] == [3] * 4


def test_fields_in_messages():
    assert shown("a\nb") == "'a\\nb'"
    assert shown("9" * 5000) == f"'{'9' * 60}'..."


@pytest.mark.parametrize(
    "header", ["emotion,pixels,Usage", "emotion, Usage, pixels", "Usage,pixels,emotion", "\ufeffemotion,pixels,Usage"]
)
def test_reads_every_order_of_columns(tmp_path, write_pixel_csv, header):
    rows = [(0, 7, "Training"), (6, 250, "PublicTest")]
    path = write_pixel_csv(tmp_path / "faces.csv", rows, header.removeprefix("\ufeff"))
    if header.startswith("\ufeff"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    table = read_pixel_csv(path, 7, USAGES)
    assert table.bad == ()
    assert table.frame.to_dict("list") == {"row": [0, 1], "code": [0, 6], "usage": ["Training", "PublicTest"]}
    assert [int(table.reader.read(position).mean()) for position in (0, 1)] == [7, 250]


def test_reads_quotes_spaces_and_windows_line_ends(tmp_path):
    pixels = " ".join(map(str, np.arange(48 * 48) % 256))
    path = tmp_path / "faces.csv"
    path.write_bytes(
        f'"emotion"," Usage"," pixels"\r\n3, Training," {pixels}"\r\n\r\n4, Training,"{pixels}"\r\n'.encode()
    )
    table = read_pixel_csv(path, 7, USAGES)
    assert table.bad == ()
    assert table.frame["code"].tolist() == [3, 4]
    expected = (np.arange(48 * 48) % 256).reshape(48, 48)
    np.testing.assert_array_equal(table.reader.read(0), expected)
    np.testing.assert_array_equal(table.reader.read(1), expected)


def test_a_file_without_usage_has_none(tmp_path, write_pixel_csv):
    path = write_pixel_csv(tmp_path / "train.csv", [(1, 9, "")], "emotion,pixels")
    assert read_pixel_csv(path, 7, USAGES).frame["usage"].tolist() == [""]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((7, 0, "Training"), "faces.csv row 2: emotion must be a code from 0 to 6; got '7'"),
        (("-1", 0, "Training"), "faces.csv row 2: emotion must be a code from 0 to 6; got '-1'"),
        (("sad", 0, "Training"), "faces.csv row 2: emotion must be a code from 0 to 6; got 'sad'"),
        ((1, 0, "Validation"), "faces.csv row 2: Usage must be one of Training, PublicTest"),
        ((1, 0, "Training,1"), "faces.csv row 2: 4 fields, expected 3"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_kept(tmp_path, write_pixel_csv, row, message):
    path = write_pixel_csv(tmp_path / "faces.csv", [(0, 1, "Training"), row, (2, 3, "PublicTest")])
    table = read_pixel_csv(path, 7, USAGES)
    assert len(table.bad) == 1
    assert message in table.bad[0]
    assert table.frame["row"].tolist() == [0, 2]
    assert int(table.reader.read(1).mean()) == 3


def test_missing_columns_are_named(tmp_path, write_pixel_csv):
    path = write_pixel_csv(tmp_path / "test.csv", [(0, 1, "")], "pixels")
    with pytest.raises(UserError, match=r"test\.csv has no column emotion"):
        read_pixel_csv(path, 7, USAGES)


def test_the_same_rows_have_the_same_content_key_in_another_file(tmp_path, write_pixel_csv):
    rows = [(0, 1, "Training"), (1, 2, "PublicTest")]
    short = read_pixel_csv(write_pixel_csv(tmp_path / "a.csv", rows), 7, USAGES).reader
    longer = write_pixel_csv(tmp_path / "b.csv", [*rows, (2, 3, "PublicTest")], "emotion, Usage, pixels")
    long = read_pixel_csv(longer, 7, USAGES).reader
    assert long.take(np.array([0, 1])).content_key() == short.content_key()
    assert long.content_key() != short.content_key()
