from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_lightning.inference import video
from fer_lightning.inference.face_detector import FaceFinder


@pytest.fixture(scope="module")
def portrait():
    pytest.importorskip("mediapipe", exc_type=ImportError)
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture
def predict(fer, tmp_path, trained_run):
    """`predict(*options)` by a tiny net, into `tmp_path/out`."""

    def run(*options):
        options = (*options, f"checkpoint={trained_run}", f"hydra.run.dir={tmp_path / 'out'}", "threads=1")
        return fer("predict", *options)

    return run


def read_back(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_a_folder_with_all_that_people_have(predict, portrait, tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(portrait).save(folder / "photo.jpg")
    Image.fromarray(portrait).convert("L").save(folder / "sub" / "grün.webp")
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / "black.png")
    (folder / "text.jpg").write_text("no picture")
    assert predict(f"source={folder}") == 0
    out = tmp_path / "out"
    table = pd.read_csv(out / "predictions.csv")
    assert list(table["source"]) == ["photo.jpg", "sub/grün.webp"]
    np.testing.assert_allclose(table.filter(like="prob_").sum(axis=1), 1, atol=1e-5)
    told = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert list(told["unread"]) == ["text.jpg"] and told["classes"] == ["happy", "sad", "surprise"]
    marked = sorted(path.relative_to(out / "annotated").as_posix() for path in (out / "annotated").rglob("*.*"))
    assert marked == ["black.png", "photo.jpg", "sub/grün.webp.png"]
    assert (np.abs(np.asarray(Image.open(out / "annotated" / "photo.jpg")).astype(int) - portrait) > 60).mean() > 0.005
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 faces in 3 of 4 pictures." in printed and "text.jpg is not a picture" in printed


def test_predictions_say_which_views_and_prior_they_have(predict, portrait, tmp_path, capsys):
    Image.fromarray(portrait).save(tmp_path / "photo.jpg")
    shares = []
    for option in ("prior=training", "prior={surprise: 1, happy: 8, sad: 1}"):
        assert predict(f"source={tmp_path / 'photo.jpg'}", "tta=mirror", option) == 0
        told = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
        shares.append(np.array(list(told["faces"][0]["probabilities"].values())))
    assert (told["model"]["tta"], told["model"]["prior"]) == ("mirror", "happy 0.8, sad 0.1, surprise 0.1")
    # The net was trained on equally many images of each class.
    np.testing.assert_allclose(shares[1], shares[0] * [8, 1, 1] / (shares[0] @ [8, 1, 1]), atol=1e-3)
    capsys.readouterr()
    assert predict(f"source={tmp_path / 'photo.jpg'}", "prior={happy: 1, sadd: 1}") == 2
    assert "prior names 'sadd', which is not a class of this network: did you mean sad?" in capsys.readouterr().err


def test_groups_of_classes(predict, portrait, tmp_path):
    Image.fromarray(portrait).save(tmp_path / "photo.jpg")
    source = f"source={tmp_path / 'photo.jpg'}"
    assert predict(source) == 0
    of_classes = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert predict(source, "groups={high: [happy, surprise], low: [sad]}") == 0
    of_groups = pd.read_csv(tmp_path / "out" / "predictions.csv")
    high = of_classes["prob_happy"] + of_classes["prob_surprise"]
    assert of_groups["prob_high"].tolist() == pytest.approx(high.tolist(), abs=1e-3)
    report = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert report["model"]["groups"] == "high: happy, surprise; low: sad"


def test_a_video_has_one_track_and_as_many_frames(predict, portrait, tmp_path):
    path = tmp_path / "moving.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 240))
    for number in range(20):
        picture = np.full((240, 320, 3), 100, np.uint8)
        left = 4 * number
        picture[20:220, left : left + 200] = cv2.resize(portrait[:300, 80:380, ::-1], (200, 200))
        writer.write(picture)
    writer.release()
    assert predict(f"source={path}") == 0
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(table["frame"]) == list(range(20)) and set(table["track"]) == {1}
    np.testing.assert_allclose(table["time"], np.arange(20) / 25, atol=1e-3)
    assert np.polyfit(table["frame"], table["x"], 1)[0] == pytest.approx(4, abs=0.5)
    assert len(read_back(tmp_path / "out" / "annotated.mp4")) == 20


def test_ctrl_c_keeps_what_was_read(predict, portrait, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        Image.fromarray(portrait).save(tmp_path / name)
    find = FaceFinder.find

    def once(self, image):
        monkeypatch.setattr(FaceFinder, "find", stop)
        return find(self, image)

    def stop(self, image):
        raise KeyboardInterrupt

    monkeypatch.setattr(FaceFinder, "find", once)
    assert predict(f"source={tmp_path}", "annotate=false") == 130
    assert list(pd.read_csv(tmp_path / "out" / "predictions.csv")["source"]) == ["a.png"]


def test_ctrl_c_is_how_a_camera_ends(predict, portrait, tmp_path, monkeypatch):
    class Camera(video.Video):
        def __init__(self, source):
            self.expected, self.rate = None, 30.0

        def frames(self):
            for number in range(3):
                yield video.Frame(number, number / 30, portrait)
            raise KeyboardInterrupt

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("fer_lightning.commands.predict.Video", Camera)
    assert predict("source=0", "show=true") == 0
    assert list(pd.read_csv(tmp_path / "out" / "predictions.csv")["frame"]) == [0, 1, 2]
    assert len(read_back(tmp_path / "out" / "annotated.mp4")) == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], r"source=\.\.\. is missing"),
        (["source=nowhere.jpg"], r"nowhere\.jpg does not exist"),
        (["source={folder}"], "must contain pictures; got none"),
        (["source={folder}/text.jpg"], r"text\.jpg is not a picture, or a broken one\."),
        (["source=97"], "source=97: there is no camera"),
        (["source={folder}", "threshold=1.5"], "threshold must be a probability between 0 and 1; got 1.5"),
        (["source={folder}", "search=deep"], "search=deep is unknown: use one of auto, quick, thorough"),
        (["source={folder}", "smoothing=-1"], "smoothing must be 0 or more seconds; got -1"),
        (["source={folder}", "max_faces=0"], "max_faces must be at least 1; got 0"),
        (["source={folder}/text.jpg", "batch_size=0"], "batch_size must be at least 1; got 0"),
        (["source={folder}/text.jpg", "device=tpu"], "device=tpu is unknown: use one of cpu, cuda"),
    ],
)
def test_mistakes_are_told_in_one_sentence(predict, tmp_path, capsys, options, told):
    folder = tmp_path / "in"
    folder.mkdir()
    if "text.jpg" in str(options):
        (folder / "text.jpg").write_text("no picture")
    assert predict(*(option.format(folder=folder) for option in options)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.search(told, lines[0])


def test_help_teaches(fer, capsys):
    assert fer("predict", "--help") == 0
    printed = capsys.readouterr().out
    assert "fer predict source=photo.jpg" in printed and "smoothing: 0.3" in printed
