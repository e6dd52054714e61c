"""Videos that are cut off, damaged, or say odd things of their time, and what is written of them."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fer_lightning.errors import UserError
from fer_lightning.inference.annotate import AnnotatedVideo
from fer_lightning.inference.video import Video, is_video

KINDS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v", ".webm": "VP80", ".mpg": "mpg1", ".ts": "mp4v", ".flv": "FLV1"}
SIZE = (64, 48)
# Of a QuickTime header: where to write what frames are to be turned by, in 16.16 fixed point.
TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def write_video(path: Path, count: int, rate: float) -> bytes:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*KINDS[path.suffix]), rate, SIZE)
    assert writer.isOpened(), path
    for number in range(count):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 8 * number % 250, np.uint8))
    writer.release()
    return path.read_bytes()


def write_at(path: Path, source: Path, times: np.ndarray) -> None:
    """The frames of a video at other times, in milliseconds, as Matroska."""
    given = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    raw = [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, int(given.get(cv2.CAP_PROP_FOURCC)), 1000.0, SIZE, raw)
    for moment in times:
        writer.set(cv2.VIDEOWRITER_PROP_PTS, int(moment))
        writer.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, given.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))
        writer.write(given.read()[1])
    writer.release()


def annotate(path: Path) -> tuple[list[float], float, tuple[int, int]]:
    """Reads a video and writes it again: times of its frames, seconds and size of what was written (0: nothing)."""
    out = path.with_name("annotated.mp4")
    out.unlink(missing_ok=True)
    if not is_video(path):
        raise UserError(f"{path} is no video")
    with Video(path) as video:
        times = []
        with AnnotatedVideo(out, video.rate) as annotated:
            for frame in video.frames():
                annotated.write(frame.pixels, frame.seconds)
                times.append(frame.seconds)
            annotated.repeat_until(video.length)
    assert not out.with_name(".annotated.mp4").exists()
    if not out.exists():
        return times, 0.0, (0, 0)
    capture = cv2.VideoCapture(str(out))
    assert capture.read()[0], "annotated.mp4 does not play"
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    return times, capture.get(cv2.CAP_PROP_FRAME_COUNT) / capture.get(cv2.CAP_PROP_FPS), size


def lasts(seconds: float, wanted: float, frame: float) -> bool:
    return abs(seconds - wanted) <= max(frame, 0.02 * wanted) + 1e-3


def test_rates_of_videos(campaign, tmp_path):
    """Constant rates from 0.5 to 960 frames a second, in every container, single frames too."""
    for case, rng in campaign.cases(quick=14, full=210):
        suffix = list(KINDS)[case % len(KINDS)]
        # Of what MPEG knows; the clock of Matroska and FLV has milliseconds.
        rate = (
            math.exp(rng.uniform(math.log(0.5), math.log(960))) if suffix in (".mp4", ".avi") else rng.uniform(1, 240)
        )
        rate = (24.0, 25.0, 30.0, 50.0)[rng.integers(4)] if suffix == ".mpg" else round(rate, 2 if rate < 650 else 1)
        count = int(rng.integers(1, 40))
        path = tmp_path / f"film{suffix}"
        write_video(path, count, rate)
        campaign.judge(
            (suffix, rate, count),
            lambda path=path: annotate(path),
            accepts=lambda result, n=count, r=rate: len(result[0]) == n and lasts(result[1], n / r, 1 / r + 0.04),
        )


def test_irregular_times_of_videos(campaign, tmp_path):
    write_video(tmp_path / "plain.mp4", 40, 25)
    for case, rng in campaign.cases(quick=10, full=200):
        steps = np.exp(rng.uniform(math.log(5), math.log((60, 500, 3000)[case % 3]), int(rng.integers(2, 40))))
        times = np.round(np.cumsum(steps) - steps[0]).astype(int)
        path = tmp_path / "film.mkv"
        write_at(path, tmp_path / "plain.mp4", times)
        shown = times / 1000

        def right(result, shown=shown):
            written = list(result[0])
            return np.allclose(written, shown, atol=0.01) and lasts(
                result[1], shown[-1], 0.25 + 2 * np.diff(shown).min()
            )

        campaign.judge((case, len(times)), lambda path=path: annotate(path), accepts=right)


def test_videos_that_are_turned(campaign, tmp_path):
    plain = write_video(tmp_path / "plain.mp4", 5, 25)
    place = plain.index(b"tkhd") + 4 + 40
    for case, _ in campaign.cases(quick=3, full=3):
        turn, (a, b, c, d) = list(TURNS.items())[case]
        matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        path = tmp_path / "film.mp4"
        path.write_bytes(plain[:place] + matrix + plain[place + 36 :])
        size = SIZE if turn == 180 else SIZE[::-1]
        campaign.judge(turn, lambda path=path: annotate(path), accepts=lambda result, size=size: result[2] == size)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, with other bytes or numbers in the header or anywhere, with a part moved, or put together of two."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind, place = rng.integers(7), int(rng.integers(len(data)))
        number = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", rng.bytes(4))[rng.integers(4)]
        if kind == 0:
            del data[max(place, 16) :]
        elif kind == 1:
            data[place : place + 8] = rng.bytes(8)
        elif kind == 2:  # a header
            place = int(rng.integers(min(len(data), 600)))
            data[place : place + 4] = number
        elif kind == 3:  # the last part, which holds the header of an MP4
            place = max(0, len(data) - int(rng.integers(1, 700)))
            data[place : place + 4] = number
        elif kind == 4:
            data[place : place + int(rng.integers(1, 200))] = b""
        elif kind == 5:
            data[place:place] = rng.bytes(int(rng.integers(1, 200)))
        else:
            data += content[place:]
    return bytes(data)


def test_damaged_videos(campaign, tmp_path):
    contents = {suffix: write_video(tmp_path / f"plain{suffix}", 12, 25) for suffix in KINDS}
    frames = [Image.new("L", SIZE, 20 * number) for number in range(12)]
    frames[0].save(tmp_path / "plain.gif", save_all=True, append_images=frames[1:], duration=40)
    contents[".gif"] = (tmp_path / "plain.gif").read_bytes()
    for case, rng in campaign.cases(quick=24, full=800):
        suffix = list(contents)[case % len(contents)]
        path = tmp_path / f"film{suffix}"
        path.write_bytes(damaged(contents[suffix], rng))

        def right(result):
            times, seconds, _ = result
            ordered = all(math.isfinite(t) for t in times) and times == sorted(times) and times[:1] in ([], [0.0])
            return ordered and (not times or not seconds or seconds >= times[-1] - 1)

        campaign.judge((case, suffix), lambda path=path: annotate(path), named=path.name, accepts=right)
