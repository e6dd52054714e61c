from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_lightning.deploy.annotated_video import AnnotatedVideo
from fer_lightning.errors import UserError


def read_back(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_frames_come_back_in_their_order_and_colours(tmp_path):
    path = tmp_path / "new" / "film.mp4"
    with AnnotatedVideo(path, 24.0) as video:
        for number in range(8):
            video.write(np.full((48, 64, 3), (200, 25 * number, 30), np.uint8), number / 24)
            assert not path.exists()
        video.write(np.zeros((96, 128, 3), np.uint8), 8 / 24)  # another size
    frames, rate = read_back(path)
    assert rate == 24 and len(frames) == 9 and frames[0].shape == (48, 64, 3)
    colours = [frame.reshape(-1, 3).mean(0) for frame in frames[:8]]
    np.testing.assert_allclose(colours, [(200, 25 * number, 30) for number in range(8)], atol=8)


def test_what_was_written_before_an_error_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt), AnnotatedVideo(tmp_path / "film.mp4", 24.0) as video:
        video.write(np.zeros((48, 64, 3), np.uint8), 0.0)
        raise KeyboardInterrupt
    assert len(read_back(tmp_path / "film.mp4")[0]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_without_frames_there_is_no_file(tmp_path):
    with AnnotatedVideo(tmp_path / "film.mp4", 24.0):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [0.05, 0.5, 1, 23.976, 29.97, 59.94, 240, 960])
def test_a_video_lasts_as_long_at_any_rate(tmp_path, rate):
    with AnnotatedVideo(tmp_path / "film.mp4", rate) as video:
        for number in range(12):
            video.write(np.zeros((48, 64, 3), np.uint8), number / rate)
        video.finish(12 / rate)
    frames, written = read_back(tmp_path / "film.mp4")
    assert len(frames) / written == pytest.approx(12 / rate, rel=0.02)


def test_frames_at_irregular_times_are_shown_at_these_times(tmp_path):
    times = np.cumsum([0, 0.04, 0.01, 0.3, 0.04, 1.2, 0.1])
    with AnnotatedVideo(tmp_path / "film.mp4", 30) as video:
        for number, seconds in enumerate(times):
            video.write(np.full((48, 64, 3), 30 * number, np.uint8), seconds)
        video.finish(2.5)
    frames, rate = read_back(tmp_path / "film.mp4")
    assert len(frames) / rate == pytest.approx(2.5, abs=1 / rate)
    for number in (0, 2, 3, 4, 5, 6):
        shade = frames[round((times[number] + 0.01) * rate)].mean()
        assert shade == pytest.approx(30 * number, abs=15)


def test_what_does_not_play_gets_no_name(tmp_path, monkeypatch):
    """OpenCV does not say when the disk is full."""
    (tmp_path / ".film.mp4").write_bytes(b"of a run that was killed")
    monkeypatch.setattr("fer_lightning.deploy.annotated_video._frames", lambda path: 0.0)
    with (
        pytest.raises(UserError, match=r"film\.mp4 cannot be written: .*disk full"),
        AnnotatedVideo(tmp_path / "film.mp4", 24.0) as video,
    ):
        video.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    assert not list(tmp_path.iterdir())
