from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rich

from fer_lightning.data import store
from fer_lightning.data.image_decoding import conform
from fer_lightning.data.samples import BadSample, ImageFiles
from fer_lightning.data.store import LazyImages, PackedImages, cache_key, find_undecodable, pack, track
from fer_lightning.errors import UserError

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Drawn:
    """A reader of `count` images that follow from their row number; `before` sees each row before it is read."""

    count: int
    side: int = 8
    before: Callable[[int], None] = lambda row: None

    def __len__(self) -> int:
        return self.count

    def read(self, position: int) -> np.ndarray:
        self.before(position)
        return np.full((self.side, self.side), position % 251, np.uint8)

    def take(self, positions: np.ndarray) -> Drawn:
        raise NotImplementedError

    def content_key(self) -> str:
        return "content"

    def local_key(self) -> str:
        return "local"


def levels(images: PackedImages, count: int) -> list[int]:
    batch = images.batch(np.arange(count))
    assert (batch == batch[:, :1, :1]).all()
    return batch[:, 0, 0, 0].tolist()


def anonymous_bytes() -> int:
    """Memory of this process that no file backs."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


@pytest.fixture
def photos(tmp_path: Path) -> ImageFiles:
    """150 colour PNGs of several sizes and shapes."""
    rng = np.random.default_rng(0)
    names = []
    for number in range(150):
        shape = ((24, 24), (40, 30), (16, 20))[number % 3]
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        names.append(f"{number}.png")
    return ImageFiles(tmp_path, tuple(names))


class TestConform:
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)

    def test_keeps_what_fits(self) -> None:
        square = self.image[:48, :48]
        np.testing.assert_array_equal(conform(square, 48, 3), square)
        np.testing.assert_array_equal(conform(square[:, :, 0], 48, 1)[:, :, 0], square[:, :, 0])

    def test_grey_is_the_luminance(self) -> None:
        grey = conform(self.image[:48, :48], 48, 1)
        expected = self.image[:48, :48] @ np.array([0.299, 0.587, 0.114])
        assert grey.shape == (48, 48, 1)
        assert np.abs(grey[:, :, 0] - expected).max() <= 1

    def test_grey_becomes_three_equal_channels(self) -> None:
        np.testing.assert_array_equal(conform(self.image[:48, :48, 0], 48, 3), np.dstack([self.image[:48, :48, 0]] * 3))

    def test_shrinks_the_centre_by_area(self) -> None:
        small = conform(self.image, 30, 3)
        blocks = self.image[:, 10:70].reshape(30, 2, 30, 2, 3).mean(axis=(1, 3))
        assert np.abs(small - blocks).max() <= 0.5

    def test_grows_bicubically(self) -> None:
        expected = cv2.resize(self.image[:, 10:70], (96, 96), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(conform(self.image, 96, 3), expected)

    def test_crops_tall_images_at_the_centre(self) -> None:
        tall = np.zeros((70, 20), np.uint8)
        tall[25:45] = 9
        assert (conform(tall, 20, 1) == 9).all()


class TestPack:
    @pytest.mark.parametrize(("size", "channels"), [(24, 3), (16, 1)])
    def test_equals_decoding_directly(self, photos: ImageFiles, tmp_path: Path, size: int, channels: int) -> None:
        images, bad = pack(photos, tmp_path / "store", size, channels)
        rows = np.random.default_rng(0).permutation(len(photos))
        batch = images.batch(rows)
        assert bad == {}
        assert type(batch) is np.ndarray
        for image, row in zip(batch, rows):
            np.testing.assert_array_equal(image, conform(photos.read(row), size, channels))
        np.testing.assert_array_equal(batch, LazyImages(photos, size, channels).batch(rows))

    def test_second_call_decodes_nothing(self, tmp_path: Path) -> None:
        pack(Drawn(100), tmp_path / "store", 8, 1)

        def refuse(row: int) -> None:
            raise AssertionError

        images, _ = pack(Drawn(100, before=refuse), tmp_path / "store", 8, 1)
        assert levels(images, 100) == list(range(100))

    def test_bad_rows_are_black_and_remembered(self, tmp_path: Path) -> None:
        def spoil(row: int) -> None:
            if row in (3, 140):
                raise BadSample(f"row {row} is spoilt")

        for _ in range(2):
            images, bad = pack(Drawn(200, before=spoil), tmp_path / "store", 8, 1)
            assert bad == {3: "row 3 is spoilt", 140: "row 140 is spoilt"}
            assert levels(images, 200) == [0 if row in bad else row for row in range(200)]

    def test_kill_in_the_middle_leaves_no_store(self, tmp_path: Path) -> None:
        reached = tmp_path / "reached"

        def stall(row: int) -> None:
            if row == 900:
                reached.touch()
                time.sleep(60)

        folder = tmp_path / "cache" / "store"
        process = FORK.Process(target=pack, args=(Drawn(1000, before=stall), folder, 8, 1))
        process.start()
        until(reached.exists)
        assert (folder.parent / "store.partial" / "images.npy").stat().st_size > 0, "the kill came before any writing"
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert not folder.exists()
        images, _ = pack(Drawn(1000), folder, 8, 1)
        assert levels(images, 1000) == [row % 251 for row in range(1000)]
        assert sorted(path.name for path in folder.parent.iterdir()) == ["store", "store.lock"]

    def test_two_processes_build_it_once(self, tmp_path: Path) -> None:
        tally = tmp_path / "tally"

        def count(row: int) -> None:
            with tally.open("ab", buffering=0) as file:
                file.write(b".")
            time.sleep(0.0002)

        def work(answer: Path) -> None:
            images, _ = pack(Drawn(500, before=count), tmp_path / "store", 8, 1)
            answer.write_text(" ".join(map(str, levels(images, 500))))

        answers = [tmp_path / "first", tmp_path / "second"]
        processes = [FORK.Process(target=work, args=(answer,)) for answer in answers]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        assert [process.exitcode for process in processes] == [0, 0]
        assert tally.stat().st_size == 500
        assert answers[0].read_text() == answers[1].read_text() == " ".join(str(row % 251) for row in range(500))

    def test_failure_leaves_nothing_behind(self, tmp_path: Path) -> None:
        def fail(row: int) -> None:
            if row == 150:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pack(Drawn(200, before=fail), tmp_path / "cache" / "store", 8, 1)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["store.lock"]

    def test_too_full_a_disk_is_told_before_decoding(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
        with pytest.raises(UserError) as caught:
            pack(Drawn(1_000_000), tmp_path / "store", 48, 1)
        assert str(caught.value) == (
            f"Packing 1000000 images needs 2.3 GB in {tmp_path}, where 1.0 GB are free: set data.cache_dir to "
            "another disk, or decode while training with data.store=files."
        )
        assert not (tmp_path / "store").exists()

    def test_unusable_cache_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=f"data.cache_dir={tmp_path}/file could not be filled .* another folder"):
            pack(Drawn(1), tmp_path / "file" / "store", 8, 1)

    def test_a_finished_store_needs_no_lock(self, tmp_path: Path) -> None:
        """A cache shared by others may be read-only."""
        pack(Drawn(10), tmp_path / "store", 8, 1)
        (tmp_path / "store.lock").unlink()
        pack(Drawn(10), tmp_path / "store", 8, 1)
        assert not (tmp_path / "store.lock").exists()

    def test_progress_is_shown(self, tmp_path: Path) -> None:
        screen = io.StringIO()
        with terminal(screen):
            pack(Drawn(600, before=lambda row: time.sleep(0.0005)), tmp_path / "store", 8, 1)
        assert "Decoding images" in screen.getvalue()
        assert "100%" in screen.getvalue()

    def test_long_work_is_announced_with_an_estimate(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level("INFO")
        pack(Drawn(999), tmp_path / "few", 8, 1)
        assert not caplog.messages
        monkeypatch.setattr(store, "_LONG", 0)
        pack(Drawn(1000), tmp_path / "many", 8, 1)
        assert caplog.messages == [
            f"Decoding images, once: 1,000 images, 0.00 GB in {tmp_path}",
            "Decoding images: about 0 minutes",
        ]

    @pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc")
    def test_memory_stays_flat_while_packing_and_reading(self, tmp_path: Path) -> None:
        """A store of 50 MB, of which no more than a few chunks may ever be held."""
        held: list[int] = []

        def watch(row: int) -> None:
            if row % 500 == 499:
                held.append(anonymous_bytes())

        before = anonymous_bytes()
        images, _ = pack(Drawn(5_000, side=100, before=watch), tmp_path / "store", 100, 1)
        assert (tmp_path / "store" / "images.npy").stat().st_size > 50_000_000
        for start in range(0, 5_000, 500):
            assert images.batch(np.arange(start, start + 500))[7].max() == (start + 7) % 251
            held.append(anonymous_bytes())
        assert len(held) == 20
        assert max(held) - before < 20_000_000

    def test_decoding_waits_for_a_slow_disk(self) -> None:
        """Else decoded images pile up in memory."""
        rows: list[int] = []
        decoded = store._decoded(Drawn(20_000, before=rows.append), 8, 1, "for a test")
        next(decoded)
        time.sleep(0.3)
        assert len(rows) <= 2 * 64 * (os.cpu_count() or 1)

    def test_pickling_carries_no_pixels(self, tmp_path: Path) -> None:
        images, _ = pack(Drawn(5000, side=20), tmp_path / "store", 20, 1)
        content = pickle.dumps(images)
        assert len(content) < 1000
        assert levels(pickle.loads(content), 5000) == levels(images, 5000)


class TestFiles:
    def test_bad_file_met_while_training_is_the_users_to_mend(self, photos: ImageFiles) -> None:
        (photos.root / "7.png").write_bytes(b"spoilt")
        with pytest.raises(UserError, match=r"7\.png: not a readable image; correct it, .*data.on_bad_sample=skip"):
            LazyImages(photos, 24, 3).batch(np.array([6, 7, 8]))

    def test_find_undecodable_looks_once(self, photos: ImageFiles, tmp_path: Path) -> None:
        (photos.root / "7.png").write_bytes(b"spoilt")
        (photos.root / "149.png").unlink()
        bad = find_undecodable(photos, tmp_path / "cache" / "bad")
        assert sorted(bad) == [7, 149]
        assert "7.png: not a readable image" in bad[7]
        (photos.root / "8.png").unlink()
        assert find_undecodable(photos, tmp_path / "cache" / "bad") == bad


def test_a_bar_leaves_nothing_in_a_log_file() -> None:
    log = io.StringIO()
    rich.reconfigure(file=log)
    try:
        for part in track(range(3), "Working"):
            rich.print(part)
            time.sleep(0.06)
    finally:
        rich.reconfigure()
    assert log.getvalue() == "0\n1\n2\n"


def test_cache_key_follows_everything_that_decides_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ("content", "local", ["a", "b"], 48, 1)
    others = [
        ("other", "local", ["a", "b"], 48, 1),
        ("content", "other", ["a", "b"], 48, 1),
        ("content", "local", ["b", "a"], 48, 1),
        ("content", "local", ["a", "b"], 64, 1),
        ("content", "local", ["a", "b"], 48, 3),
    ]
    keys = {cache_key(*arguments) for arguments in [plain, *others]}
    monkeypatch.setattr(store, "STORE_VERSION", store.STORE_VERSION + 1)
    keys.add(cache_key(*plain))
    assert len(keys) == 7


def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited 20 s in vain")


@contextmanager
def terminal(screen: io.StringIO) -> Iterator[None]:
    """Makes rich draw as on a terminal, into `screen`."""
    rich.reconfigure(file=screen, force_terminal=True)
    try:
        yield
    finally:
        rich.reconfigure()
