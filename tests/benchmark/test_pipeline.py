from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fer_lightning.benchmark.peers import DRIVERS
from fer_lightning.benchmark.pipeline import (
    HEIGHT,
    WARM_UP,
    WIDTH,
    Comparison,
    astronaut_frames,
    comparison_table,
    fit_frame,
    read_frames,
    run_comparison,
    write_frames,
)
from fer_lightning.errors import UserError

# Waits as long as its first argument says, writes into the file of its second one when it looks, and ends itself after
# as many looks as its third one says.
PEER = f"""
import os, sys, time
sys.path.insert(0, {str(DRIVERS)!r})
from serving import Timed, serve

looks = 0

def look(frame):
    global looks
    looks += 1
    with open(sys.argv[2], "a") as log:
        log.write(sys.argv[1] + "\\n")
    if looks > int(sys.argv[3]):
        os._exit(3)
    time.sleep(float(sys.argv[1]))
    return [None, "sad", "happy"][frame[0, 0, 0]]

serve(lambda threads: Timed("peer", "1", "none", look))
"""


def as_given(things, word):
    return things


@pytest.fixture
def held(tmp_path: Path):
    """`held(slow={...})`: a comparison of 7 rounds over 3 frames; returns it and who looked when."""
    program = tmp_path / "peer.py"
    program.write_text(PEER)
    frames = write_frames([np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in (0, 2, 2)], tmp_path)

    def hold(**settings: tuple[float, int]):
        commands = {
            who: [sys.executable, str(program), str(wait), str(tmp_path / "log"), str(most)]
            for who, (wait, most) in settings.items()
        }
        commands["missing"] = ["no-such-program"]
        comparison = run_comparison(commands, frames, 1, 7, as_given)
        return comparison, [float(line) for line in (tmp_path / "log").read_text().split()]

    return hold


def test_all_look_in_turns_and_the_first_one_changes(held):
    comparison, looked = held(quick=(0.002, 999), slow=(0.006, 999))
    assert comparison.left_out == {"missing": "no-such-program cannot be started (No such file or directory)"}
    assert set(comparison.facts) == {"quick", "slow"}
    warm, timed = looked[: 2 * 3 * WARM_UP], looked[2 * 3 * WARM_UP :]
    assert warm == [0.002] * 3 * WARM_UP + [0.006] * 3 * WARM_UP
    assert timed == [
        wait for number in range(7) for wait in ((0.002, 0.006), (0.006, 0.002))[number % 2] for _ in "abc"
    ]
    counts = comparison.times.groupby(["who", "stage", "round"]).size()
    assert len(counts) == 2 * 2 * 7 and (counts == 3).all()


def test_the_table_tells_the_ratio_of_what_was_measured(held):
    comparison, _ = held(quick=(0.004, 999), slow=(0.012, 999))
    table = comparison_table(comparison, "quick").set_index(["who", "stage"])
    quick, slow = table.loc["quick", "whole"], table.loc["slow", "whole"]
    assert quick["ratio"] == quick["ratio_low"] == quick["ratio_high"] == 1
    assert slow["ratio_low"] <= slow["ratio"] <= slow["ratio_high"] and 1.5 < slow["ratio"] < 3.5
    own = comparison.times[(comparison.times["who"] == "slow") & (comparison.times["stage"] == "whole")]["milliseconds"]
    assert slow["median_ms"] == np.median(own) and slow["n"] == 21
    assert slow["label"] == "happy" and slow["found"] == pytest.approx(2 / 3)


def test_one_that_dies_on_the_way_is_left_out_with_its_times(held):
    comparison, _ = held(steady=(0.001, 999), mortal=(0.001, 3 * WARM_UP + 4))
    assert comparison.left_out["mortal"] == "it ended with status 3"
    assert set(comparison.times["who"]) == {"steady"} == set(comparison.facts)
    assert comparison.times["round"].nunique() == 7


def test_the_most_frequent_label_is_missing_without_a_face():
    times = pd.DataFrame({"who": ["seen", "blind"], "round": 0, "stage": "whole", "milliseconds": 1.0})
    facts = {"version": "1", "settings": "", "peak_memory_mb": None}
    labels = {"seen": ["sad", None, "happy", "sad"], "blind": [None, None]}
    comparison = Comparison(times, {who: facts | {"labels": labels[who]} for who in labels})
    table = comparison_table(comparison, "seen").set_index("who")
    assert table.loc["seen", "label"] == "sad" and pd.isna(table.loc["blind", "label"])
    assert table["found"].tolist() == [0.75, 0.0]


def test_the_astronaut_fills_every_frame_and_moves():
    pytest.importorskip("skimage")
    frames = list(astronaut_frames(5))
    assert all(frame.shape == (480, 640, 3) and frame.dtype == np.uint8 for frame in frames)
    for frame in frames:  # no black border
        assert all(edge.max(axis=-1).mean() > 5 for edge in (frame[0], frame[-1], frame[:, 0], frame[:, -1]))
    assert all((one != other).mean() > 0.3 for one, other in pairwise(frames))


def test_without_scikit_image_a_photo_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(UserError, match="pip install scikit-image, or use a photo"):
        next(astronaut_frames(1))


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
