"""`fer predict` under names that act on what they meet, and stopped at any moment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from fer_lightning.commands import predict
from fer_lightning.errors import UserError, printable
from fer_lightning.inference.face_detector import Face
from fer_lightning.inference.predictor import Predictor
from fer_lightning.inference.tracking import VideoReading
from fer_lightning.inference.video import FolderContent, Video, folder_content

# Spreadsheets, Rich, shells, Hydra, HTML, terminals and paths obey these.
PARTS = (
    *"=+-@,;'\"`$&|<>*?!#~%^(){}[]\\ :\t\r\n\x07\x08\x1b\x7f",
    *("=1+1", "@SUM(A1)", "[bold]", "[/]", "[link=file:///etc/passwd]x[/link]", "\x1b[31m", "\x1b]0;title\x07", "${x}"),
    *("$(id)", "%s%n", "{0}", "<script>", "&amp;", "..", "COM1", "null", "nan", "1e9", "é", "e\u0301", "笑", "😀"),
    *("\u202egpj.", "\u2028", "\xa0", "\ufeff", "\x9b31m", os.fsdecode(b"\xff"), os.fsdecode(b"\xc3"), "a" * 60),
)
SUFFIXES = (".png", ".PNG", ".jpg", ".webp", "", ".", ".txt.png", ".tiff", ".x")


def odd_name(rng: np.random.Generator) -> str:
    """A name that a file may have and that is not hidden; about one in ten as long as file systems allow."""
    parts = [PARTS[index] for index in rng.integers(0, len(PARTS), rng.integers(1, 12 if rng.random() < 0.9 else 120))]
    suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
    stem = os.fsencode("".join(parts).lstrip(".") or "x")[: 255 - len(suffix)]
    return os.fsdecode(stem) + suffix


@pytest.fixture(scope="module")
def predictor():
    pytest.importorskip("mediapipe", exc_type=ImportError)
    try:
        opened = Predictor("ferplus", thorough=False, threads=1)
    except UserError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(scope="module")
def portrait():
    return cv2.resize(pytest.importorskip("skimage.data").astronaut()[:300, 80:380], (96, 96))


def read_back(folder: Path) -> tuple[pd.DataFrame, dict]:
    """Both files, the JSON one by a strict reader."""
    table = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    return table, json.loads((folder / "predictions.json").read_bytes().decode("utf-8", "strict"))


def settings(folder: Path, annotate: bool = True):
    return OmegaConf.create({"output_dir": str(folder), "annotate": annotate, "smoothing": 0.3, "show": False})


def test_odd_names_of_pictures(campaign, predictor, portrait, tmp_path, capsys, caplog):
    png = cv2.imencode(".png", portrait[..., ::-1])[1].tobytes()
    for case, rng in campaign.cases(quick=6, full=450):
        root = tmp_path / str(case)
        names = set()
        for _ in range(2):
            name = odd_name(rng) if rng.random() < 0.7 else f"{odd_name(rng)[:60]}/{odd_name(rng)}"
            path = Path(root, "in", name)
            if len(os.fsencode(path.parent.name)) < 256 and not path.exists() and path.parent.name not in ("..", "."):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png)
                names.add(os.path.relpath(path, root / "in"))

        def read(root=root):
            content = folder_content(root / "in")
            predict._report_left_out(root / "in", content)
            predict._read_photos(settings(root / "out"), root / "in", content, predictor)
            return read_back(root / "out")

        def whole(result, root=root, names=names):
            table, tree = result
            printed = capsys.readouterr().out + caplog.text
            cells = table["source"].tolist()
            readable = {os.fsencode(name).decode("utf-8", "backslashreplace") for name in names}
            return (
                {face["source"] for face in tree["faces"]} == readable
                and {cell.removeprefix("'") for cell in cells} == {printable(name).removeprefix("'") for name in names}
                and not any(re.match(r"[=+@\-\t\r]", cell) or cell != printable(cell) for cell in cells)
                and not re.search("[\x07\x08\x1b\x9b\u202e]", printed)
                and tree["complete"]
                and len([path for path in (root / "out" / "annotated").rglob("*") if path.is_file()]) >= 1
            )

        campaign.judge(sorted(names), read, accepts=whole)
        caplog.clear()


class Stopping(Predictor):
    """A predictor that finds one face in each picture, and stops as it is told in one of them."""

    classes = ("happy", "sad")

    def __init__(self, after: int, error: BaseException, batch_size: int) -> None:
        self.after, self.error, self.classifier, self.finder = after, error, self, self
        self.card, self.preprocessing = {"model": "Net"}, {"image_size": 48, "channels": 1}
        self.max_faces, self.threshold, self.batch_size = 20, 0.0, batch_size

    def find(self, picture: np.ndarray) -> list[Face]:
        self.after -= 1
        if self.after < 0:
            raise self.error
        return [Face((1.0, 2.0, 30.0, 30.0), 0.9, np.zeros((0, 2), np.float32))]

    has_affect = False

    def classify(self, faces: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0.75, 0.25], np.float32), (len(faces), 1))


def test_stops_at_any_picture(campaign, tmp_path, capsys):
    """Whatever ends the reading, both files hold what was read before, and say that there is more."""
    errors = (
        KeyboardInterrupt(),
        RuntimeError("net"),
        MemoryError(),
        OSError(28, "full"),
        SystemExit(3),
        UserError("x"),
    )
    files = [tmp_path / f"{number}.png" for number in range(8)]
    for file in files:
        Image.new("RGB", (40, 40)).save(file)
    for case, rng in campaign.cases(quick=30, full=600):
        after, error = int(rng.integers(0, 8)), errors[rng.integers(len(errors))]
        out = tmp_path / f"out{case}"
        try:
            predictor = Stopping(after, error, int(rng.choice([1, 3, 64])))
            predict._read_photos(settings(out, rng.random() < 0.3), tmp_path, FolderContent(files), predictor)
            problem = "was not stopped"
        except BaseException as stop:
            table, tree = read_back(out)
            kept = (
                list(table["source"])
                == [face["source"] for face in tree["faces"]]
                == [f"{n}.png" for n in range(after)]
            )
            problem = "" if stop is error and kept and tree["complete"] is False else f"{stop!r}, {len(table)} rows"
            printed = capsys.readouterr().out
            problem = problem or ("" if not after or f"{after} face" in printed else "no table")
        campaign.held((after, error), not problem, problem)


@pytest.mark.slow
def test_kills_of_a_folder_run(campaign, portrait, tmp_path):
    """Of `fer predict` as a process of its own: both files are whole after every signal, and nothing else is left."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(400):
        Image.fromarray(portrait).save(folder / f"{number:03d}.png")
    film = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (96, 96))
    for _ in range(2000):
        film.write(portrait[..., ::-1])
    film.release()
    for case, rng in campaign.cases(quick=2, full=16):
        out, source = tmp_path / f"out{case}", (folder, tmp_path / "film.mp4")[case % 2]
        number = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[rng.integers(3)]
        options = [f"source={source}", f"hydra.run.dir={out}", "threads=1"]
        heed = lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM)]  # noqa: E731
        process = subprocess.Popen(
            [sys.executable, "-m", "fer_lightning", "predict", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed,
        )
        while process.poll() is None and not (out / "predictions.csv").exists():
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 4))
        process.send_signal(number)
        printed = process.communicate(timeout=120)[0]
        table, tree = read_back(out)
        left = {path.name for path in out.iterdir()} - {
            "predictions.csv",
            "predictions.json",
            "predict.log",
            "annotated",
        }
        film = out / "annotated.mp4"
        plays = not film.exists() or cv2.VideoCapture(str(film)).read()[0]
        ended = process.returncode in (0, -number, 128 + number) and "Traceback" not in printed
        same = len(table) == len(tree["faces"]) and tree["complete"] is (process.returncode == 0)
        right = ended and same and plays and left <= {"annotated.mp4", *([".annotated.mp4"] if number == 9 else [])}
        campaign.held((case, number), right, f"{process.returncode} {len(table)} {left} {printed[-300:]}")


class Walking(Stopping):
    """A predictor that finds two faces in every frame, of which one is somebody else every second."""

    def __init__(self) -> None:
        super().__init__(0, RuntimeError(), batch_size=64)
        self.frame = 0

    def follow(self, picture: np.ndarray, faces: list[Face], glances: object) -> list[Face]:
        self.frame += 1
        places = (0.01 * self.frame % 20, 40.0 + 60 * (self.frame // 30))
        return [Face((place, 10.0, 30.0, 30.0), 0.9, np.zeros((0, 2), np.float32)) for place in places]


@pytest.mark.slow
def test_memory_over_a_long_video(campaign, tmp_path):
    """10,000 frames with two faces in each: after the first thousand the process needs no more memory."""
    path = tmp_path / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (320, 240))
    for number in range(10_000):
        writer.write(np.full((240, 320, 3), number % 250, np.uint8))
    writer.release()
    resident: list[int] = []
    find = VideoReading._find

    def measured(self, picture, seconds):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE"))
        return find(self, picture, seconds)

    with pytest.MonkeyPatch.context() as patch, Video(path) as video:
        patch.setattr(VideoReading, "_find", measured)
        predict._read_video(settings(tmp_path / "out"), str(path), video, Walking(), is_camera=False)
    table, tree = read_back(tmp_path / "out")
    grown = (resident[-1] - resident[1000]) / 2**20
    print(f"resident: {', '.join(f'{size / 2**20:.1f}' for size in resident[::1000])}, {resident[-1] / 2**20:.1f} MB")
    right = len(table) == len(tree["faces"]) == 2 * len(resident) == 20_000 and grown < 4
    campaign.held("10,000 frames", right, f"grew by {grown:.1f} MB")
