from __future__ import annotations

from pathlib import Path

import pytest

from fer_lightning.data.cache_folder import make_once
from fer_lightning.errors import UserError


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
