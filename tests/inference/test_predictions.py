from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fer_lightning.commands.predict import PeopleTable, PhotoTable
from fer_lightning.errors import UserError
from fer_lightning.inference.predictions import PredictionFiles, Predictions, predict

CLASSES = ("happy", "sad")


def found(source, frame, seconds, happy, track=None, side=60.0):
    face = np.zeros((48, 48, 1), np.uint8)
    read = predict((1.26, 2.0, side, side), np.array([happy, 1 - happy]), CLASSES, 0.6, face, track)
    return Predictions([read], source, CLASSES, "", frame, seconds)


FACES = [found("v.mp4", 0, 0.0, 0.9, 1), found("v.mp4", 1, 0.04, 0.55, 1), found("v.mp4", 1, 0.04, 0.2, 2, side=20.0)]

FRAME = Predictions([face for faces in FACES for face in faces], "v.mp4", CLASSES, "", 1, 0.04)


def shown(table, *faces):
    for face in faces:
        table.add(face)
    console = Console(width=100, record=True)
    with console.capture() as capture:
        console.print(table.table())
    return capture.get()


def both(folder):
    return pd.read_csv(folder / "predictions.csv"), json.loads((folder / "predictions.json").read_text("utf-8"))


def write(folder, faces, unread=None, complete=True):
    files = PredictionFiles(folder, {"model": "Net"}, CLASSES)
    files.unread |= unread or {}
    for face in faces:
        files.add(face)
    files.close(complete)


def test_both_files_say_the_same(tmp_path):
    write(tmp_path / "new", FACES, {"x.jpg": "broken"})
    table, tree = both(tmp_path / "new")
    assert list(table["label"]) == ["happy", "uncertain", "sad"]
    assert list(table["track"]) == [1, 1, 2] and list(table["low_resolution"]) == [False, False, True]
    np.testing.assert_allclose(table[["prob_happy", "prob_sad"]].sum(axis=1), 1)
    assert table.loc[0, ["x", "y", "width", "height"]].tolist() == [1.3, 2.0, 60.0, 60.0]
    assert tree["model"] == {"model": "Net"} and tree["unread"] == {"x.jpg": "broken"} and tree["complete"] is True
    assert [face["label"] for face in tree["faces"]] == list(table["label"])
    assert tree["faces"][2]["probabilities"]["sad"] == pytest.approx(0.8)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"predictions.csv", "predictions.json"}


def test_without_faces_there_are_columns_and_no_rows(tmp_path):
    write(tmp_path / "none", [])
    write(tmp_path / "some", FACES)
    (none, tree), (some, _) = both(tmp_path / "none"), both(tmp_path / "some")
    assert len(none) == 0 and list(none.columns) == list(some.columns) and tree["faces"] == []
    assert "People" in shown(PeopleTable())


def test_photos_have_no_track(tmp_path):
    write(tmp_path, [found("a.jpg", 0, 0.0, 0.9)])
    assert both(tmp_path)[0]["track"].isna().all()


def test_both_files_are_whole_at_any_time(tmp_path, monkeypatch):
    """Whatever ends the process: they are read while they grow."""
    monkeypatch.setattr("fer_lightning.inference.predictions._FLUSH_EVERY", 0.0)
    write(tmp_path, FACES * 9)  # an earlier, longer run
    files = PredictionFiles(tmp_path, {}, CLASSES)
    for number in range(5):
        table, tree = both(tmp_path)
        assert len(table) == len(tree["faces"]) == number and tree["complete"] is False
        files.unread[f"{number}.jpg"] = "broken"
        files.add(FACES[0])
        assert list(both(tmp_path)[1]["unread"]) == [f"{done}.jpg" for done in range(number + 1)]
    files.unread.clear()  # the end becomes shorter
    files.close(complete=False)
    assert both(tmp_path)[1]["complete"] is False


class Full:
    """A file on a disk that takes so many more bytes, and half of what is written when it is full."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, content):
        if self.file.tell() + len(content) > self.room:
            taken = max(0, self.room - self.file.tell())
            if not taken:
                raise OSError(28, "No space left on device")
            return self.file.write(content[:taken])
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("name", ["_table", "_tree"])
@pytest.mark.parametrize("room", [400, 610, 1000, 1303, 2000])
def test_a_full_disk_keeps_the_rows_before(tmp_path, monkeypatch, name, room):
    monkeypatch.setattr("fer_lightning.inference.predictions._FLUSH_EVERY", 0.0)
    files = PredictionFiles(tmp_path, {}, CLASSES)
    growing = getattr(files, name)
    growing._file = Full(growing._file, room)
    with pytest.raises(UserError, match=r"predictions\.\w+ cannot be written: the disk is full"):
        for _ in range(100):
            files.add(FRAME)
    with pytest.raises(UserError, match="the disk is full"):
        files.close(complete=False)
    table, tree = both(tmp_path)
    assert len(table) % 3 == len(tree["faces"]) % 3 == 0 and table["prob_sad"].notna().all()
    assert tree["complete"] is False


def test_names_are_escaped_where_they_would_act(tmp_path):
    names = ["=1+1.png", "@a.png", "+a.png", "-a.png", "a,\"b'.png", "a\nb\x1b[31m.png", "[bold]a.png"]
    names += [os.fsdecode(b"b\xff.png"), "\ttab.png", "grün 笑.png"]
    write(tmp_path, [found(name, 0, 0.0, 0.9) for name in names], {names[7]: "broken"})
    table, tree = both(tmp_path)
    expected = ["'=1+1.png", "'@a.png", "'+a.png", "'-a.png", "a,\"b'.png", "a\\nb\\x1b[31m.png", "[bold]a.png"]
    assert list(table["source"]) == [*expected, "b\\xff.png", "\\ttab.png", "grün 笑.png"]
    assert [face["source"] for face in tree["faces"]] == [*names[:7], "b\\xff.png", *names[8:]]
    assert list(tree["unread"]) == ["b\\xff.png"]
    text = shown(PhotoTable(), *(found(name, 0, 0.0, 0.9) for name in names))
    assert "[bold]a.png" in text and "\x1b[31m" not in text and "b\\xff.png" in text


def test_the_terminal_names_faces_and_people():
    text = shown(
        PhotoTable(),
        Predictions([*found("a.jpg", 0, 0.0, 0.9), *found("a.jpg", 0, 0.0, 0.1, side=20.0)], "a.jpg", CLASSES),
    )
    assert "90.0%" in text and "20 (low)" in text and "sad 10.0%" in text
    assert [line.split()[3] for line in text.splitlines() if "a.jpg" in line] == ["1", "2"]
    text = shown(PeopleTable(), *FACES)
    assert "happy 50%, uncertain 50%" in text and "sad 100%" in text
    many = shown(PhotoTable(), *(found(f"{number}.jpg", 0, 0.0, 0.9) for number in range(50)))
    assert "and 10 more in predictions.csv" in many


def test_a_folder_that_is_removed_meanwhile_comes_back_with_all_rows(tmp_path):
    files = PredictionFiles(tmp_path / "out", {}, CLASSES)
    shutil.rmtree(tmp_path / "out")
    files.add(FRAME)
    files.close(complete=True)
    table, tree = both(tmp_path / "out")
    assert len(table) == len(tree["faces"]) == 3


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.json"])
def test_results_that_cannot_be_written_are_refused_before_anything_is_read(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name} cannot be written: there is a folder of this name"):
        PredictionFiles(tmp_path, {}, CLASSES)
