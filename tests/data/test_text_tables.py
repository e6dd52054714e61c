from __future__ import annotations

import os

import pytest

from fer_lightning.data.text_tables import column_places, read_rows, read_text, shown, whole_decimal, whole_number
from fer_lightning.errors import UserError


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
