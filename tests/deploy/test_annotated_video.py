from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_lightning.deploy.annotated_video import AnnotatedVideo


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
            video.write(np.full((48, 64, 3), (200, 25 * number, 30), np.uint8))
            assert not path.exists()
        video.write(np.zeros((96, 128, 3), np.uint8))  # another size
    frames, rate = read_back(path)
    assert rate == 24 and len(frames) == 9 and frames[0].shape == (48, 64, 3)
    colours = [frame.reshape(-1, 3).mean(0) for frame in frames[:8]]
    np.testing.assert_allclose(colours, [(200, 25 * number, 30) for number in range(8)], atol=8)


def test_what_was_written_before_an_error_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt), AnnotatedVideo(tmp_path / "film.mp4", 24.0) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
        raise KeyboardInterrupt
    assert len(read_back(tmp_path / "film.mp4")[0]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_without_frames_there_is_no_file(tmp_path):
    with AnnotatedVideo(tmp_path / "film.mp4", 24.0):
        pass
    assert not list(tmp_path.iterdir())
