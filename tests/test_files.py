from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from fer_lightning.errors import UserError
from fer_lightning.files import write_whole


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = write_whole(tmp_path / "folder" / "a.txt", lambda unfinished: unfinished.write_text("old"))

    def fail(unfinished: Path) -> None:
        unfinished.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(UserError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    write_whole(path, lambda unfinished: unfinished.write_text("new"))
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "larger than a file may be"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_says_becomes_a_sentence(tmp_path, number, reason):
    def fail(unfinished: Path) -> None:
        raise OSError(number, "Input/output error")

    with pytest.raises(UserError, match=f"{re.escape(str(tmp_path / 'a.csv'))} cannot be written: .*{reason}"):
        write_whole(tmp_path / "a.csv", fail)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name, reason in (("file/a.txt", "is a file"), ("folder", "folder of this name"), ("x" * 300, "too long")):
        with pytest.raises(UserError, match=reason):
            write_whole(tmp_path / name, lambda unfinished: unfinished.write_text("new"))
    longest = write_whole(tmp_path / ("x" * 251 + ".txt"), lambda unfinished: unfinished.write_text("new"))
    assert longest.read_text() == "new"


def test_an_error_of_a_file_that_is_read_is_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "a.txt", lambda unfinished: unfinished.write_bytes(Path("/nowhere/b").read_bytes()))
