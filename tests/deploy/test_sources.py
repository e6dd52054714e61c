from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from fer_lightning.deploy.sources import Video, is_video, picture_files
from fer_lightning.errors import UserError


def write_video(path, count, rate=25.0, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((size[1], size[0], 3), 8 * number, np.uint8))
    writer.release()
    return path


def test_pictures_of_a_folder_and_its_folders_by_name(tmp_path):
    (tmp_path / "glück").mkdir()
    for name in ("b.JPG", "a.webp", "glück/смех.png", "notes.txt", "film.mp4", "paper.pdf", "scan.jp2"):
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in picture_files(tmp_path)]
    assert names == ["a.webp", "b.JPG", "glück/смех.png", "scan.jp2"]
    assert picture_files(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="folder without pictures"):
        picture_files(tmp_path)
    for source in ("nowhere.jpg", "nowhere.mp4"):
        with pytest.raises(UserError, match="does not exist"):
            picture_files(tmp_path / source) if source.endswith("jpg") else Video(str(tmp_path / source))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="not a video"):
        Video(str(tmp_path / "text.mp4"))


def test_videos_are_told_by_their_name():
    assert [is_video(name) for name in ("0", "12", "talk.MP4", "photo.jpg", "folder")] == [True] * 3 + [False] * 2


def test_every_frame_has_its_number_and_time(tmp_path):
    with Video(str(write_video(tmp_path / "ü.mp4", 30))) as video:
        assert (video.expected, video.rate) == (30, 25.0)
        frames = list(video.frames())
    assert [frame.number for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(30) / 25, atol=1e-3)
    shades = [frame.pixels.mean() for frame in frames]
    np.testing.assert_allclose(shades, 8 * np.arange(30), atol=4)


class Capture:
    """An OpenCV capture that sends a few frames, says it has more, and stamps them irregularly."""

    times = (0.0, 40.0, 45.0, 45.0, 300.0)

    def __init__(self, source):
        self.source, self.sent, self.released = source, 0, False

    def isOpened(self):
        return True

    def get(self, name):
        return {
            cv2.CAP_PROP_FRAME_COUNT: 50.0,
            cv2.CAP_PROP_FPS: 0.0,
            cv2.CAP_PROP_POS_MSEC: self.times[self.sent - 1],
        }[name]

    def read(self):
        self.sent += 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.sent <= len(self.times) else (False, None)

    def release(self):
        self.released = True


@pytest.fixture
def capture(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Capture)


def test_a_video_that_breaks_off_is_kept_as_far_as_it_goes(capture, tmp_path, caplog):
    (tmp_path / "half.mp4").touch()
    with Video(str(tmp_path / "half.mp4")) as video:
        frames = list(video.frames())
    np.testing.assert_allclose([frame.seconds for frame in frames], [0, 1 / 30, 0.045, 0.1, 0.3], atol=0.06)
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)
    assert "breaks off: 5 of 50 frames could be read" in caplog.text


def test_a_camera_that_vanishes_ends_the_reading(capture, caplog):
    with caplog.at_level(logging.WARNING), Video("0") as camera:
        assert camera.expected is None
        frames = list(camera.frames())
    assert len(frames) == 5
    assert "Camera 0 sends no more pictures" in caplog.text


def test_a_camera_that_is_not_there():
    with pytest.raises(UserError, match="no camera of this number"):
        Video("97")
