from __future__ import annotations

from pathlib import Path

import pytest

from fer_lightning.report.whole_file import write_whole


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = write_whole(tmp_path / "folder" / "a.txt", lambda unfinished: unfinished.write_text("old"))

    def fail(unfinished: Path) -> None:
        unfinished.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    write_whole(path, lambda unfinished: unfinished.write_text("new"))
    assert path.read_text() == "new"
