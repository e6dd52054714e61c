from __future__ import annotations

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_lightning.errors import UserError
from fer_lightning.inference.video import Video, find_source, folder_content, is_video


def write_video(path, count, rate=25.0, size=(64, 48), code="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, size)
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((size[1], size[0], 3), 8 * number, np.uint8))
    writer.release()
    return path


def test_pictures_of_a_folder_and_its_folders_by_name(tmp_path):
    (tmp_path / "glück").mkdir()
    for name in ("b.JPG", "a.webp", "glück/смех.png", "notes.txt", "film.mp4", "paper.pdf", "scan.jp2", "x.HEIC"):
        (tmp_path / name).touch()
    Image.new("RGB", (4, 4)).save(tmp_path / "0001", format="PNG")
    (tmp_path / "d.cr2").touch()
    (tmp_path / "e.jpg").symlink_to("nowhere")
    (tmp_path / "f.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "view.ts").write_text("export const a = 1")
    content = folder_content(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in content.pictures]
    assert names == ["0001", "a.webp", "b.JPG", "glück/смех.png", "scan.jp2"]
    unread = {path.name: reason.partition(",")[0].partition(":")[0] for path, reason in content.unread.items()}
    heic = "is a HEIC picture"
    assert unread == {"film.mp4": "is a video", "x.HEIC": heic, "f.jpg": heic, "d.cr2": "is a raw photo"} | {
        "e.jpg": "is a link that leads to no file"
    }


def test_own_results_and_hidden_files_are_left_out(tmp_path):
    for name in ("a.png", "trip/b.png", "annotated/c.png"):  # the user's own
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    hidden = ("._a.png", ".thumbs/a.png", "__MACOSX/a.png")
    own = ("outputs/predict/1/annotated/a.png", "trip/annotated/b.png", "trip/annotated.mp4", "old/figures/a.png")
    for name in (*hidden, *own, "trip/predictions.csv", "old/metrics.json", "why/explanation.json", "why/gradcam.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    content = folder_content(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in content.pictures]
    assert names == ["a.png", "annotated/c.png", "trip/b.png"] and not content.unread
    assert len(content.left_out) == 8
    assert len(folder_content(tmp_path / "outputs").pictures) == 1  # asked for


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.jpg", "nowhere.jpg does not exist: give a picture, a folder, a video, or a camera's number"),
        ("x" * 5000, "does not exist"),
        ("a\0b", "does not exist"),
        ("~nobody_of_this_name/a.jpg", "does not exist"),
        ("https://example.org/a.jpg", r"source=https://example.org/a.jpg is an address"),
        ("rtsp://camera/1", "is an address"),
        ("/dev/null", "not a file or a folder"),
        ("123456789", "does not exist"),
    ],
)
def test_what_is_not_there_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        find_source(source)


def test_a_path_that_exists_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("2025", "~a", "https:"):
        (tmp_path / folder).mkdir()
    (tmp_path / "https:" / "a.jpg").touch()
    assert [find_source(name) for name in ("2025", "~a")] == [Path("2025"), Path("~a")]
    assert find_source("https://a.jpg") == Path("https:/a.jpg")
    assert [find_source(name) for name in ("0", "12", "/dev/video3")] == [0, 12, 3]


def test_videos_are_known_by_what_they_hold(tmp_path):
    for suffix, code in ((".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v"), (".mpg", "mpg1"), (".webm", "VP80")):
        write_video(tmp_path / f"film{suffix}", 3, code=code)
        (tmp_path / f"film{suffix}").rename(tmp_path / "film")
        assert is_video(tmp_path / "film"), suffix
        with Video(tmp_path / "film") as video:
            assert len(list(video.frames())) == 3
    for step, start in ((188, 0), (192, 4)):
        packets = bytearray(step * 10)
        packets[start::step] = b"G" * 10
        (tmp_path / "a.ts").write_bytes(packets)
        assert is_video(tmp_path / "a.ts")
    for name in ("talk.MP4", "camcorder.MTS", "old.ogv"):  # empty: by their names
        (tmp_path / name).touch()
        assert is_video(tmp_path / name)
    for name in ("photo.jpg", "0001"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, format="JPEG")
        assert not is_video(tmp_path / name)
    (tmp_path / "IMG.HEIC").touch()
    with pytest.raises(UserError, match=r"IMG\.HEIC is a HEIC picture, which cannot be read: convert it"):
        is_video(tmp_path / "IMG.HEIC")


def test_an_animation_is_a_video(tmp_path):
    frames = [Image.new("L", (32, 32), 20 * number) for number in range(6)]
    times = {"duration": [100, 100, 400, 100, 100, 100], "save_all": True, "append_images": frames[1:]}
    frames[0].save(tmp_path / "a.gif", **times)
    frames[0].save(tmp_path / "still.gif")
    assert is_video(tmp_path / "a.gif") and not is_video(tmp_path / "still.gif")
    with Video(tmp_path / "a.gif") as video:
        seconds = [frame.seconds for frame in video.frames()]
        assert video.length == pytest.approx(0.9, abs=0.01)
    np.testing.assert_allclose(seconds, [0, 0.1, 0.2, 0.6, 0.7, 0.8], atol=0.01)


def test_a_broken_video_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="not a video"):
        Video(tmp_path / "text.mp4")


@pytest.mark.parametrize("name", ["ü.mp4", "12:30.mp4", "100%02d.mp4", os.fsdecode(b"b\xff.mp4"), "a'b\n.mp4"])
def test_every_frame_has_its_number_and_time(tmp_path, name):
    write_video(tmp_path / "film.mp4", 30).rename(tmp_path / name)
    with Video(tmp_path / name) as video:
        assert (video.expected, video.rate) == (30, 25.0)
        frames = list(video.frames())
    assert [frame.number for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(30) / 25, atol=1e-3)
    shades = [frame.pixels.mean() for frame in frames]
    np.testing.assert_allclose(shades, 8 * np.arange(30), atol=4)


class Capture:
    """An OpenCV capture that sends a few frames, says it has more, and stamps them as the test says."""

    times: tuple[float, ...] = (0.0, 40.0, 45.0, 45.0, 300.0)
    rate, count = 0.0, 50.0

    def __init__(self, source, backend=None):
        self.source, self.sent, self.released = source, 0, False

    def isOpened(self):
        return True

    def get(self, name):
        return {
            cv2.CAP_PROP_FRAME_COUNT: self.count,
            cv2.CAP_PROP_FPS: self.rate,
            cv2.CAP_PROP_POS_MSEC: self.times[min(self.sent, len(self.times)) - 1],
        }[name]

    def grab(self):
        self.sent += 1
        return self.sent <= len(self.times)

    def read(self):
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.grab() else (False, None)

    def release(self):
        self.released = True


@pytest.fixture
def capture(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    return monkeypatch


def read_times(folder, capture, times, rate, count=0.0):
    for name, value in (("times", tuple(times)), ("rate", rate), ("count", count)):
        capture.setattr(Capture, name, value)
    with Video(folder / "a.mp4") as video:
        return video, [frame.seconds for frame in video.frames()]


def test_a_video_that_breaks_off_is_kept_as_far_as_it_goes(capture, tmp_path, caplog):
    video, seconds = read_times(tmp_path, capture, (0.0, 40.0, 45.0, 45.0, 300.0), 25.0, 50.0)
    np.testing.assert_allclose(seconds, [0, 0.04, 0.045, 0.045, 0.3])
    assert "breaks off: 5 of 50 frames could be read" in caplog.text and video.broken and not video.length


@pytest.mark.parametrize("reported", [0.0, 0.04, 90000.0, 1e9, float("nan"), float("inf"), -5.0])
@pytest.mark.parametrize("rate", [0.5, 29.97, 960])
def test_a_rate_that_cannot_be_is_replaced_by_that_of_the_frames(capture, tmp_path, rate, reported):
    video, seconds = read_times(tmp_path, capture, 1000 * np.arange(40) / rate, reported)
    assert video.rate == pytest.approx(rate)
    np.testing.assert_allclose(seconds, np.arange(40) / rate)


def test_times_that_are_missing_or_jump(capture, tmp_path):
    assert read_times(tmp_path, capture, [0.0] * 4, 10.0)[1] == [0, 0.1, 0.2, pytest.approx(0.3)]
    assert read_times(tmp_path, capture, [7.0] * 4, 0.0)[1] == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])
    assert read_times(tmp_path, capture, [1400.0, 1500.0, 1600.0], 10.0)[1] == pytest.approx([0, 0.1, 0.2])
    jumps = [0.0, 100.0, 1e12, 1e12 + 100, -5e9, -5e9 + 100]
    assert read_times(tmp_path, capture, jumps, 10.0)[1] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_camera_that_vanishes_ends_the_reading(capture, caplog):
    with caplog.at_level(logging.WARNING), Video(0) as camera:
        assert camera.expected is None
        frames = list(camera.frames())
    assert len(frames) == 5
    assert "Camera 0 sends no more pictures" in caplog.text


def test_a_camera_that_is_not_there():
    with pytest.raises(UserError, match="no camera of this number"):
        Video(97)
