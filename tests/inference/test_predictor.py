from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fer_lightning.errors import UserError
from fer_lightning.inference.predictor import Predictor


def test_the_three_lines_read_a_photo(predictor, portrait, tmp_path):
    Image.fromarray(portrait).save(tmp_path / "photo.png")
    [read] = predictor(str(tmp_path / "photo.png"))
    assert read.label == "happy" and read.confidence > 0.5
    assert sum(read.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert max(read.probabilities, key=read.probabilities.get) == "happy"
    assert tuple(read.probabilities) == predictor.classes
    assert read.face.shape == (72, 72, 1) and read.track is None and not read.low_resolution
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
