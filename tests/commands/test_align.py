from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from fer_lightning.data.alignment import detection

pytest.importorskip("mediapipe")


def options(face_folder, cache):
    return ["data=folder", f"data.root={face_folder}", f"data.cache_dir={cache}", "data.image_size=64"]


def numbers(folder):
    return pd.read_csv(folder / "alignment.csv").set_index(["split", "class", "quantity"])["value"]


def test_aligns_tells_and_draws(fer, face_folder, tmp_path, capsys, monkeypatch):
    cache, run = tmp_path / "cache", tmp_path / "run"
    typed = options(face_folder, cache)
    assert fer("align", *typed, "workers=1", f"hydra.run.dir={run}") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "merry │ 76.9% │ 80.0% │ 80.0% │ 78.3%" in told
    assert "images │ 26 │ 10 │ 10 │ 46" in told
    assert "10 images, in which no face was found, are unchanged" in told
    assert f"fer train {' '.join(typed)} data.align=true" in told

    values = numbers(run)
    assert values["train", "calm", "images"] == 13 and values["train", "calm", "found"] == 10
    assert values["all", "all", "found"] == values["all", "all", "measured"] == 36
    assert values["all", "all", "roll_degrees_before"] > 5 > 2 > values["all", "all", "roll_degrees_after"]
    assert values["all", "all", "eye_spread_pixels_before"] > 2 > 1 > values["all", "all", "eye_spread_pixels_after"]
    tilted = values["all", "all", "share_tilted_over_45_degrees"]
    enlarged = values["all", "all", "share_enlarged_over_twofold"]
    assert max(tilted, enlarged) < 0.1
    assert f"more than 45 degrees ({tilted:.1%}) or enlarged more than twofold ({enlarged:.1%})" in told
    assert cv2.imread(str(run / "alignment.png")).std() > 20

    (landmarks,) = cache.glob("folder-landmarks-*/landmarks.parquet")
    (aligned,) = cache.glob("folder-64px1-*/images.npy")
    assert pd.read_parquet(landmarks)["found"].sum() == 36
    assert np.load(aligned).shape == (46, 64, 64, 1)

    # The second time nothing is searched for: what is there is shown.
    def refuse(*arguments):
        raise AssertionError

    monkeypatch.setattr(detection, "_search", refuse)
    assert fer("align", *typed, "workers=1", f"hydra.run.dir={tmp_path / 'again'}") == 0
    pd.testing.assert_series_equal(numbers(tmp_path / "again"), values)


def test_a_dataset_without_faces(fer, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for place in ("train/calm", "train/merry", "val/calm", "val/merry", "test/calm", "test/merry"):
        (tmp_path / "noise" / place).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "noise" / place / "0.png"), rng.integers(0, 256, (64, 64), dtype=np.uint8))
    typed = options(tmp_path / "noise", tmp_path / "cache")
    assert fer("align", *typed, "workers=1", f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert "6 images, in which no face was found" in capsys.readouterr().out
    assert numbers(tmp_path / "run")["all", "all", "measured"] == 0


def test_align_false_is_refused(fer, face_folder, tmp_path, capsys):
    assert fer("align", *options(face_folder, tmp_path), "data.align=false", f"hydra.run.dir={tmp_path}") == 2
    assert "fer align needs data.align=true; got false" in capsys.readouterr().err
