from __future__ import annotations

import subprocess
import sys
import threading
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fer_lightning.benchmark.pipeline import HEIGHT, WIDTH, astronaut_frames
from fer_lightning.data.image_decoding import conform
from fer_lightning.data.synthetic_faces import draw_face, sample_face
from fer_lightning.errors import UserError
from fer_lightning.inference.predictions import PredictionBatch
from fer_lightning.inference.predictor import Predictor


def test_the_three_lines_read_a_photo(predictor, portrait, tmp_path):
    Image.fromarray(portrait).save(tmp_path / "photo.png")
    [read] = predictor(str(tmp_path / "photo.png"))
    assert read.label == "happy" and read.confidence > 0.5
    assert sum(read.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert max(read.probabilities, key=read.probabilities.get) == "happy"
    assert tuple(read.probabilities) == predictor.classes
    assert read.face.shape == (64, 64, 1) and read.track is None and not read.low_resolution
    assert repr(read).startswith("Prediction(happy ") and "pixels)" in repr(read)
    assert repr(predictor).startswith("Predictor('ferplus', torch, classes: ")


def test_all_kinds_of_pictures_give_the_same(predictor, portrait, tmp_path):
    Image.fromarray(portrait).save(tmp_path / "photo.png")
    opaque = np.dstack([portrait, np.full(portrait.shape[:2], 255, np.uint8)])
    [expected] = predictor(portrait)
    for picture in (tmp_path / "photo.png", Image.fromarray(portrait), opaque, portrait / 255):
        [read] = predictor(picture)
        assert read.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    [grey] = predictor(portrait.mean(2).astype(np.uint8))
    assert grey.label == "happy"


def test_tensors_and_stacks_are_pictures(predictor, portrait):
    [expected] = predictor(portrait)
    channels_first = portrait.transpose(2, 0, 1)
    for picture in (torch.from_numpy(portrait), torch.from_numpy(channels_first / 255), torch.tensor(channels_first)):
        [read] = predictor(picture)
        assert read.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    for stack in (np.stack([portrait] * 2), torch.from_numpy(np.stack([channels_first] * 2)), iter([portrait] * 2)):
        assert [[read.label for read in each] for each in predictor(stack)] == [["happy"], ["happy"]]


def test_a_bad_picture_of_a_list_fails_alone(predictor, portrait, tmp_path):
    Image.fromarray(portrait).save(tmp_path / "photo.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    photo, broken = str(tmp_path / "photo.png"), tmp_path / "broken.png"
    results = predictor([photo, broken, "https://example.org/face.jpg", np.zeros((50, 60)), None, portrait])
    assert [len(result) for result in results] == [1, 0, 0, 0, 0, 1]
    assert [result.source for result in results] == [photo, str(broken), "https://example.org/face.jpg", "3", "4", "5"]
    table = results.to_frame()
    assert [*table["source"]] == [photo, str(broken), "https://example.org/face.jpg", "4", "5"]  # one row a face
    assert [*table["label"].fillna("")] == ["happy", "", "", "", "happy"]
    for row, reason in ((1, "broken.png is not a picture"), (2, "nothing is downloaded"), (3, "got NoneType")):
        assert reason in table["error"][row]
    numbers = ["source", "face", "x", "y", "width", "height", "label", "confidence", "low_resolution"]
    assert [*table] == [*numbers, *(f"prob_{name}" for name in predictor.classes), "error"]
    [prediction] = results[0]
    assert table.loc[0, "x":"height"].tolist() == list(prediction.box)
    assert table.loc[0, "prob_angry":"prob_contempt"].tolist() == list(prediction.probabilities.values())
    [one] = predictor(photo).to_dicts()
    assert (one["box"], one["error"]) == (prediction.box, "")
    assert one["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)  # of a batch of one
    assert [*predictor(np.zeros((50, 60))).to_frame()] == [*table] and [*predictor([]).to_frame()][:3] == numbers[:3]


def test_a_folder_of_pictures(predictor, portrait, tmp_path):
    with pytest.raises(UserError, match="must contain pictures; none was found"):
        predictor(tmp_path)
    Image.fromarray(portrait).save(tmp_path / "b.png")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "notes.txt").write_text("no picture")
    table = predictor(str(tmp_path)).to_frame()
    assert [*table["source"]] == [str(tmp_path / "b.png"), str(tmp_path / "a.heic")]
    assert "HEIC" in table["error"][1]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("https://example.org/face.jpg", "is an address, and nothing is downloaded"),
        (3, "got int"),
        (np.zeros((3, 8, 9)), "channels; got 9: move its channels to the end"),
        (np.full((8, 9), 255.0), r"floats in 0\.\.1; got float64 from 255.0 to 255.0"),
        (np.zeros((8, 9), np.int64), "got int64"),
    ],
)
def test_what_is_no_picture(predictor, picture, message):
    with pytest.raises(UserError, match=message):
        predictor(picture)


def test_frames_and_files_of_a_video(portrait, finder, tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, portrait.shape[:2])
    for _ in range(3):
        writer.write(portrait[..., ::-1])
    writer.release()
    with Predictor("ferplus", thorough=False, threads=1) as predictor:
        results = [*predictor.video(path)]
        assert [[read.track for read in each] for each in results] == [[1], [1], [1]]
        assert [each.frame for each in results] == [0, 1, 2] and results[2].seconds == pytest.approx(0.2, abs=0.01)
        table = PredictionBatch(predictor.video((portrait for _ in range(2)), rate=4)).to_frame()
        assert table[["frame", "time", "track", "label"]].to_numpy().tolist() == [
            [0, 0, 1, "happy"],
            [1, 0.25, 1, "happy"],
        ]
        with pytest.raises(UserError, match=r"clip\.mp4 is a video: read it by Predictor\.video"):
            predictor(path)
        for wrong, message in ((tmp_path, "is not a video"), ("https://a.org/b.mp4", "nothing is downloaded")):
            with pytest.raises(UserError, match=message):
                next(predictor.video(wrong))


def assert_same(given, expected):
    """The same faces, labels and tracks, in the same order, and probabilities to 1e-5."""
    assert [len(each) for each in given] == [len(each) for each in expected]
    assert [(each.source, each.frame, each.seconds) for each in given] == [
        (each.source, each.frame, each.seconds) for each in expected
    ]
    for read, other in zip((face for each in given for face in each), (face for each in expected for face in each)):
        assert (read.box, read.label, read.track) == (other.box, other.label, other.track)
        assert read.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        np.testing.assert_array_equal(read.face, other.face)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_batches_are_read_as_pictures_one_by_one(finder, portrait, backend, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.hstack([portrait, portrait[:, ::-1]])).save(tmp_path / "two.png")
    pictures = [portrait, tmp_path / "broken.png", tmp_path / "two.png", np.zeros((50, 60)), portrait[:, ::-1]]
    pictures += [np.roll(portrait, (step, -step), (0, 1)) for step in range(0, 60, 12)]
    with Predictor("ferplus", backend, threads=1, batch_size=1) as predictor:
        expected = predictor(pictures)
        assert [len(each) for each in expected[:5]] == [1, 0, 2, 0, 1]
        for batch_size in (3, 64):
            predictor.batch_size = batch_size
            given = predictor(iter(pictures))
            assert_same(given, expected)
            assert [each.error for each in given] == [each.error for each in expected]


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_synthetic_faces_in_batches(backend):
    classes = ("happy", "sad", "angry")
    faces = [draw_face(sample_face(0, index, index, classes[index % 3], classes, 0.5), 64) for index in range(40)]
    with Predictor("ferplus", backend, threads=1, detect=False, batch_size=16) as predictor:
        assert_same(predictor(faces), [*map_sources(predictor(face) for face in faces)])


def map_sources(results):
    for number, result in enumerate(results):
        result.source = str(number)
        yield result


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_a_video_is_followed_in_batches_as_frame_by_frame(finder, backend, tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (WIDTH, HEIGHT))
    for number, frame in enumerate(astronaut_frames(40)):
        writer.write(frame[..., ::-1] if number not in (20, 21) else np.zeros_like(frame))
    writer.release()
    with Predictor("ferplus", backend, thorough=False, threads=1) as predictor:
        given = list(predictor.video(path))
        predictor.batch_size = 1
        expected = list(predictor.video(path))
        assert_same(given, expected)
        assert len(given) == 40 and {face.track for each in given for face in each} == {1} and not given[20]


def test_a_live_source_waits_for_no_batch_and_threads_end_with_the_iteration(finder, portrait):
    """Of a camera's frames, the first is answered before the second is asked for; a list is read ahead."""
    asked = []

    def frames():
        for number in range(100):
            asked.append(number)
            yield portrait

    def threads():
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("fer_")]

    with Predictor("ferplus", thorough=False, threads=1) as predictor:
        for number, _ in enumerate(islice(predictor.video(frames()), 3)):
            assert asked == list(range(number + 1)) and not threads()
        ahead = predictor.video([portrait] * 100)
        assert next(ahead).frame == 0 and sorted(threads()) == ["fer_classifier_0", "fer_reader_0"]
        ahead.close()
        assert not threads()
        with pytest.raises(ZeroDivisionError):
            for _ in predictor.read([portrait] * 100):
                1 / 0  # noqa: B018
        assert not threads()
        with pytest.raises(UserError, match="got NoneType"):
            list(predictor.video([portrait, portrait, None]))
        assert not threads()


def test_cropped_faces_are_not_searched_for(portrait):
    with Predictor("ferplus", detect=False) as predictor:
        crop = portrait[70:175, 170:275]
        [read], wide = predictor(crop), predictor(portrait[:100])
        assert read.box == (0, 0, 105, 105) and wide[0].box == (206, 0, 100, 100)
        np.testing.assert_array_equal(read.face, conform(crop, 64, 1))
        assert sum(read.probabilities.values()) == pytest.approx(1, abs=1e-5)
        results = predictor([crop, "nowhere.png", crop[::-1]])
        features = predictor.embed(results)
        net = predictor.classifier.trained.net
        with torch.inference_mode():
            logits = net.forward_head(torch.from_numpy(features)) / predictor.classifier.card["temperature"]
        expected = [[*results[number][0].probabilities.values()] for number in (0, 2)]
        np.testing.assert_allclose(logits.softmax(1), expected, atol=1e-5)
        np.testing.assert_allclose(predictor.embed(crop), features[:1], atol=1e-5)
        assert predictor.embed([]).shape == (0, features.shape[1])
        assert [each[0].track for each in predictor.video([crop, crop])] == [1, 1]


@pytest.mark.parametrize(
    ("name", "backend", "message"),
    [
        ("fer2013", "torch", "fer2013 is a WeightedVoting, which has no features: use another network"),
        ("ferplus", "onnxruntime", r"use backend=torch for a network .* pip install 'fer_lightning\[train\]'"),
    ],
)
def test_networks_without_features_say_which_have_some(name, backend, message):
    with Predictor(name, backend, detect=False) as predictor, pytest.raises(UserError, match=message) as error:
        predictor.embed(np.zeros((48, 48), np.uint8))
    assert "\n" not in str(error.value)


def test_faces_are_read_as_the_classifier_reads_their_crops(predictor, portrait):
    [read] = predictor(portrait)
    [expected] = predictor.classifier.probabilities(read.face[None])
    np.testing.assert_allclose(list(read.probabilities.values()), expected, atol=1e-6)


def test_no_face_a_mistyped_file_and_few_pixels(predictor, portrait, tmp_path):
    assert predictor(np.zeros((50, 60), np.uint8)) == []
    with pytest.raises(UserError, match=r"nowhere\.jpg does not exist"):
        predictor(tmp_path / "nowhere.jpg")
    small = np.asarray(Image.fromarray(portrait).resize((128, 128)))
    assert [read.low_resolution for read in predictor(small)] == [True]


def test_below_the_threshold_a_label_is_uncertain(portrait, predictor):
    with Predictor("ferplus", threshold=0.999, max_faces=1) as strict:
        [read] = strict(np.hstack([portrait, portrait]))
    assert read.label == "uncertain" and read.confidence == max(read.probabilities.values())


def test_the_package_names_it_and_imports_it_late():
    program = "import sys, fer_lightning; assert 'torch' not in sys.modules; print(fer_lightning.Predictor.__module__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "fer_lightning.inference.predictor\n"
    import fer_lightning

    with pytest.raises(AttributeError, match="Predicter"):
        fer_lightning.Predicter  # noqa: B018


@pytest.mark.slow
def test_memory_does_not_grow_with_frames(portrait):
    """Resident memory of a process of its own, after a warm-up, over 2,000 frames."""
    program = """
import gc, os
import numpy as np
from skimage.data import astronaut
from fer_lightning.inference.predictor import Predictor

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

picture = np.ascontiguousarray(astronaut()[:360, :480])
with Predictor("ferplus", thorough=False, threads=1) as predictor:
    for frame in range(2300):
        if frame == 300:
            before = resident()
        assert len(predictor(np.roll(picture, frame % 40, axis=1))) == 1
    print(resident() - before)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is read from /proc")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 8
