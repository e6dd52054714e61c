from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.pixel_csv import read_pixel_csv
from fer_lightning.errors import UserError

USAGES = ("Training", "PublicTest")


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
        ((7, 0, "Training"), "faces.csv row 2: emotion '7' is not a code from 0 to 6"),
        (("-1", 0, "Training"), "faces.csv row 2: emotion '-1' is not a code"),
        (("sad", 0, "Training"), "faces.csv row 2: emotion 'sad' is not a code"),
        ((1, 0, "Validation"), "faces.csv row 2: Usage 'Validation' is not one of Training, PublicTest"),
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
