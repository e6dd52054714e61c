from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rich

from fer_lightning.data.alignment import detection
from fer_lightning.data.alignment.detection import Landmarks, detect_landmarks, landmarks_key
from fer_lightning.data.alignment.landmarker import Landmarker, find_model_file
from fer_lightning.data.alignment.landmarks import BLENDSHAPES
from fer_lightning.data.samples import ImageFiles
from fer_lightning.errors import UserError

pytest.importorskip("mediapipe")


def refuse() -> Path:
    raise AssertionError("the model was asked for")


@pytest.fixture(scope="module")
def find_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    cache = tmp_path_factory.mktemp("model")
    return lambda: find_model_file(None, cache)


@pytest.fixture(scope="module")
def photos(face_folder: Path) -> ImageFiles:
    """20 faces, then 6 pictures of noise, and a file that is missing."""
    paths = [str(path.relative_to(face_folder)) for path in sorted((face_folder / "train").rglob("*.png"))]
    faces = [path for path in paths if int(Path(path).stem) < 10]
    return ImageFiles(face_folder, (*faces, *sorted(set(paths) - set(faces)), "train/missing.png"))


@pytest.fixture(scope="module")
def serial(photos: ImageFiles, find_model: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of landmarks found in one go in one process."""
    folder = tmp_path_factory.mktemp("serial") / "landmarks"
    detect_landmarks(photos, photos.paths, folder, find_model, workers=1, on_bad_sample="skip")
    return folder


def again(photos: ImageFiles, folder: Path) -> Landmarks:
    return detect_landmarks(photos, photos.paths, folder, refuse, workers=1, on_bad_sample="skip")


def assert_equal(found: Landmarks, expected: Landmarks) -> None:
    for name in ("found", "points", "blendshapes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_faces_are_found_and_noise_is_not(photos: ImageFiles, serial: Path, find_model: Callable[[], Path]) -> None:
    landmarks = again(photos, serial)
    assert landmarks.found.tolist() == [True] * 20 + [False] * 7
    assert landmarks.points.shape == (27, 68, 2) and landmarks.points.dtype == np.float32
    assert np.isnan(landmarks.points[20:]).all() and np.isnan(landmarks.blendshapes[20:]).all()
    with Landmarker(find_model()) as landmarker:
        for row in (3, 17):
            face = landmarker.detect(photos.read(row))
            assert face is not None
            np.testing.assert_array_equal(landmarks.points[row], face.points)
            np.testing.assert_array_equal(landmarks.blendshapes[row], face.blendshapes)


def test_the_table_is_readable_by_name(photos: ImageFiles, serial: Path) -> None:
    table = pd.read_parquet(serial / "landmarks.parquet").set_index("id")
    landmarks = again(photos, serial)
    assert [path.name for path in serial.iterdir()] == ["landmarks.parquet"]
    assert table.index.tolist() == list(photos.paths)
    assert table["found"].sum() == 20
    face = table.loc[photos.paths[7]]
    assert (face["x36"], face["y36"]) == tuple(landmarks.points[7, 36])
    assert face["jawOpen"] == landmarks.blendshapes[7, BLENDSHAPES.index("jawOpen")]


def test_parallel_equals_serial(
    photos: ImageFiles,
    serial: Path,
    find_model: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detection, "_PART", 5)
    found = detect_landmarks(photos, photos.paths, tmp_path / "landmarks", find_model, workers=2, on_bad_sample="skip")
    assert_equal(found, again(photos, serial))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landmarks", "landmarks.lock"]


@dataclass(frozen=True)
class Noted:
    """Notes the rows that are read."""

    inner: ImageFiles
    rows: np.ndarray
    seen: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, position: int) -> np.ndarray:
        self.seen.append(int(self.rows[position]))
        return self.inner.read(int(self.rows[position]))

    def take(self, positions: np.ndarray) -> Noted:
        return Noted(self.inner, self.rows[positions], self.seen)

    def content_key(self) -> str:
        raise NotImplementedError

    def local_key(self) -> str:
        raise NotImplementedError


SLOW = """
import sys
from pathlib import Path
from fer_lightning.data.alignment import detection
from fer_lightning.data.samples import ImageFiles

root, folder, model, *paths = sys.argv[1:]
detection._PART = 2
reader = ImageFiles(Path(root), tuple(paths))
detection.detect_landmarks(reader, paths, Path(folder), lambda: Path(model), workers=2, on_bad_sample="skip")
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are listed in Linux's /proc")
def test_a_killed_run_goes_on_from_its_finished_parts(
    photos: ImageFiles,
    serial: Path,
    find_model: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.tile(np.arange(len(photos)), 6)
    many = photos.take(rows)
    folder = tmp_path / "landmarks"
    begun = tmp_path / "landmarks.partial"
    arguments = [str(photos.root), str(folder), str(find_model()), *many.paths]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments])
    until(lambda: len(list(begun.glob("part_*"))) >= 3 or process.poll() is not None)
    children = children_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(children) >= 2
    until(lambda: not any(is_running(child) for child in children))

    assert not folder.exists(), "the kill came too late"
    finished = {int(path.stem.removeprefix("part_")) for path in begun.glob("part_*.parquet")}
    monkeypatch.setattr(detection, "_PART", 2)
    noted = Noted(photos, rows)
    found = detect_landmarks(noted, many.paths, folder, find_model, workers=1, on_bad_sample="skip")
    missing = set(range(0, len(rows), 2)) - finished
    assert 3 <= len(finished) < len(finished | missing)
    assert noted.seen == [rows[row] for start in sorted(missing) for row in (start, start + 1)]
    assert_equal(found, again(photos, serial).take(rows))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landmarks", "landmarks.lock"]
    assert [path.name for path in folder.iterdir()] == ["landmarks.parquet"]


def test_a_killed_worker_is_told(
    photos: ImageFiles, find_model: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "_prepare_worker", partial(os._exit, 1))
    with pytest.raises(UserError, match=r"was killed.*data\.align_workers=1.*continues where this one stopped"):
        detect_landmarks(photos, photos.paths, tmp_path / "landmarks", find_model, workers=2, on_bad_sample="skip")
    assert not (tmp_path / "landmarks").exists()


def test_progress_is_shown(
    photos: ImageFiles,
    find_model: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(detection, "_PART", 1)
    rich.reconfigure(force_terminal=True, force_interactive=True)
    try:
        detect_landmarks(
            photos.take(np.arange(2)), ["a", "b"], tmp_path / "landmarks", find_model, workers=1, on_bad_sample="skip"
        )
    finally:
        rich.reconfigure()
    told = capsys.readouterr().out
    assert "Finding faces" in told and "100%" in told


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_image_ends_the_search_unless_it_is_skipped(
    photos: ImageFiles, find_model: Callable[[], Path], tmp_path: Path, workers: int
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = ImageFiles(tmp_path, ("broken.png",))
    with pytest.raises(UserError, match=r"broken\.png: not a readable image; correct it, or .*on_bad_sample=skip"):
        detect_landmarks(broken, ["a"], tmp_path / "landmarks", find_model, workers, on_bad_sample="raise")
    assert not detect_landmarks(broken, ["a"], tmp_path / "landmarks", find_model, workers, "skip").found.any()


def test_a_script_without_a_guard_is_told(photos: ImageFiles, find_model: Callable[[], Path], tmp_path: Path) -> None:
    script = SLOW.replace("detection._PART = 2\n", "")
    (tmp_path / "script.py").write_text(script)
    arguments = [str(photos.root), str(tmp_path / "landmarks"), str(find_model()), *photos.paths]
    command = [sys.executable, str(tmp_path / "script.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "guard it by if __name__ == '__main__'" in done.stderr


def test_the_key_follows_images_and_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {landmarks_key(*parts) for parts in [("a", "b", ["1", "2"]), ("x", "b", ["1", "2"]), ("a", "x", ["1", "2"])]}
    keys.add(landmarks_key("a", "b", ["2", "1"]))
    monkeypatch.setattr(detection, "MODEL_SHA256", "another model")
    keys.add(landmarks_key("a", "b", ["1", "2"]))
    monkeypatch.setattr(detection, "DETECTION_VERSION", -1)
    keys.add(landmarks_key("a", "b", ["1", "2"]))
    assert len(keys) == 6


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(condition: Callable[[], bool]) -> None:
    for _ in range(24_000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("waited two minutes in vain")
