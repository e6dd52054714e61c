from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from fer_lightning.errors import UserError
from fer_lightning.files import make_once, shown_path, write_whole


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
        (errno.EFBIG, "exceeds the largest file size"),
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


def fail_after_writing(partial: Path) -> None:
    (partial / "first").write_text("whole")
    raise KeyboardInterrupt


def finish(partial: Path) -> None:
    (partial / "second").write_text("whole")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupted_make_is_never_taken_for_a_finished_one(tmp_path: Path, resume: bool) -> None:
    folder = tmp_path / "cache" / "thing"
    with pytest.raises(KeyboardInterrupt):
        make_once(folder, fail_after_writing, resume=resume)
    assert not folder.exists()
    make_once(folder, finish, resume=resume)
    assert names(folder) == (["first", "second"] if resume else ["second"])
    assert names(folder.parent) == ["thing", "thing.lock"]


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    make_once(tmp_path / "thing", finish)
    make_once(tmp_path / "thing", fail_after_writing)
    assert names(tmp_path / "thing") == ["second"]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"data.cache_dir={tmp_path}/file could not be filled"):
        make_once(tmp_path / "file" / "thing", finish, resume=True)


def test_below_here_it_is_short_and_elsewhere_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "outputs" / "run") == Path("outputs/run")
    assert shown_path(tmp_path.parent / "other") == tmp_path.parent / "other"
    assert shown_path(Path("outputs")) == Path("outputs")
