from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lightning.deploy.benchmark.frames import astronaut_frames, fit_frame, read_frames, write_frames
from fer_lightning.errors import UserError


def test_the_astronaut_fills_every_frame_and_moves():
    pytest.importorskip("skimage")
    frames = astronaut_frames(5)
    assert all(frame.shape == (480, 640, 3) and frame.dtype == np.uint8 for frame in frames)
    for frame in frames:  # no black border
        assert all(edge.max(axis=-1).mean() > 5 for edge in (frame[0], frame[-1], frame[:, 0], frame[:, -1]))
    assert all((one != other).mean() > 0.3 for one, other in pairwise(frames))


def test_without_scikit_image_a_photo_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(UserError, match="pip install scikit-image, or give a photo"):
        astronaut_frames(1)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (960, 1280, slice(0, 480), slice(0, 640)),
        (240, 80, slice(0, 480), slice(240, 400)),
        (100, 400, slice(160, 320), slice(0, 640)),
    ],
)
def test_pictures_are_fitted_whole_and_centred(height, width, rows, columns):
    frame = fit_frame(np.full((height, width, 3), 200, np.uint8))
    assert frame.shape == (480, 640, 3) and (frame[rows, columns] == 200).all()
    assert (frame == 200).sum() == frame[rows, columns].size  # black elsewhere


def test_files_hold_the_bytes_row_by_row(tmp_path):
    frames = [np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8) for seed in range(2)]
    for path, frame in zip(write_frames(frames, tmp_path), frames):
        content = path.read_bytes()
        assert len(content) == 480 * 640 * 3
        assert tuple(content[3 * (7 * 640 + 5) : 3 * (7 * 640 + 5) + 3]) == tuple(frame[7, 5])


def pictures(folder: Path) -> Path:
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((480, 640, 3), 10 * number, np.uint8))
    return folder


def video(folder: Path) -> Path:
    path = folder / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for number in range(3):
        writer.write(np.full((240, 320, 3), 10 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("kind", [pictures, video])
def test_frames_of_the_user_come_in_order(kind, tmp_path):
    frames = read_frames(kind(tmp_path), 2)
    assert [round(frame.mean() / 10) for frame in frames] == [0, 1]
    assert all(frame.shape == (480, 640, 3) for frame in frames)


def test_one_photo_is_one_frame(tmp_path):
    frames = read_frames(pictures(tmp_path) / "2.png", 8)
    assert len(frames) == 1 and (frames[0] == 20).all()


def test_what_is_no_picture_is_told(tmp_path):
    (tmp_path / "broken.mp4").write_text("text")
    with pytest.raises(UserError, match=r"broken\.mp4 is not a picture"):
        read_frames(tmp_path / "broken.mp4", 1)
    with pytest.raises(UserError, match=r"nowhere\.png does not exist"):
        read_frames(tmp_path / "nowhere.png", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is an empty folder"):
        read_frames(tmp_path / "empty", 1)
