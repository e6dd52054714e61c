from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fer_lightning.deploy.prediction import predict
from fer_lightning.deploy.results import FoundFace, found_faces, photo_table, to_table, track_table, write_results

CLASSES = ("happy", "sad")


def found(source, frame, seconds, happy, track=None, side=60.0):
    face = np.zeros((48, 48, 1), np.uint8)
    read = predict((1.26, 2.0, side, side), np.array([happy, 1 - happy]), CLASSES, 0.6, face, track)
    return FoundFace(source, frame, seconds, read)


FACES = [found("v.mp4", 0, 0.0, 0.9, 1), found("v.mp4", 1, 0.04, 0.55, 1), found("v.mp4", 1, 0.04, 0.2, 2, side=20.0)]


def shown(table):
    console = Console(width=100, record=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_of_what_was_read_all_but_the_crop_is_kept():
    read = [face.prediction for face in FACES]
    kept = found_faces("v.mp4", 3, 0.1, read)
    assert [face.prediction for face in kept] == read  # crops are not compared
    assert {(face.source, face.frame, face.seconds, face.prediction.face.size) for face in kept} == {
        ("v.mp4", 3, 0.1, 0)
    }


def test_both_files_say_the_same(tmp_path):
    write_results(tmp_path / "new", FACES, {"model": "Net"}, CLASSES, {"x.jpg": "broken"})
    table = pd.read_csv(tmp_path / "new" / "predictions.csv")
    assert list(table["label"]) == ["happy", "uncertain", "sad"]
    assert list(table["track"]) == [1, 1, 2] and list(table["low_resolution"]) == [False, False, True]
    np.testing.assert_allclose(table[["prob_happy", "prob_sad"]].sum(axis=1), 1)
    assert table.loc[0, ["x", "y", "width", "height"]].tolist() == [1.3, 2.0, 60.0, 60.0]
    told = json.loads((tmp_path / "new" / "predictions.json").read_text(encoding="utf-8"))
    assert told["model"] == {"model": "Net"} and told["unread"] == {"x.jpg": "broken"}
    assert [face["label"] for face in told["faces"]] == list(table["label"])
    assert told["faces"][2]["probabilities"]["sad"] == pytest.approx(0.8)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"predictions.csv", "predictions.json"}


def test_without_faces_there_are_columns_and_no_rows(tmp_path):
    write_results(tmp_path, [], {}, CLASSES, {})
    assert list(pd.read_csv(tmp_path / "predictions.csv").columns) == list(to_table(FACES, CLASSES).columns)
    assert "People" in shown(track_table([]))


def test_photos_have_no_track():
    assert to_table([found("a.jpg", 0, 0.0, 0.9)], CLASSES)["track"].isna().all()


def test_the_terminal_names_faces_and_people():
    text = shown(photo_table([found("a.jpg", 0, 0.0, 0.9), found("a.jpg", 0, 0.0, 0.1, side=20.0)]))
    assert "90.0%" in text and "20 (low)" in text and "sad 10.0%" in text
    text = shown(track_table(FACES))
    assert "happy 50%, uncertain 50%" in text and "sad 100%" in text
    many = shown(photo_table([found(f"{number}.jpg", 0, 0.0, 0.9) for number in range(50)]))
    assert "and 10 more in predictions.csv" in many
