"""What several test files share: a tiny dataset, a command line for it, and one finished run."""

from __future__ import annotations

import atexit
import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is imported anywhere: one thread, so that runs here and in subprocesses compute the same sums.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["FER_CACHE_DIR"] = tempfile.mkdtemp(prefix="fer_cache_")  # not that of the user

import cv2
import numpy as np
import pytest

from fer_lightning import cli

if TYPE_CHECKING:  # imported where they are used: the process that hands out the tests needs neither PyTorch nor pandas
    from fer_lightning.data.datamodule import ExpressionDataModule
    from fer_lightning.studies.report import StudyReport

atexit.register(shutil.rmtree, os.environ["FER_CACHE_DIR"], ignore_errors=True)

WAVES = {"happy": (0.5, 0.0), "sad": (0.0, 0.5), "surprise": (0.35, 0.35)}
COUNTS = {"train": 14, "val": 6, "test": 5}


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """75 noisy gratings of 32 pixels in 3 classes, sorted as `split/class/image.png`."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for split, count in COUNTS.items():
        for name, (along_x, along_y) in WAVES.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = 128 + 40 * np.sin(along_x * x + along_y * y) + rng.normal(0, 60, (32, 32))
                assert cv2.imwrite(str(folder / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
    return root


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that train a tiny net on `tiny_folder` for four epochs within about two seconds."""
    return [
        "data=folder",
        f"data.root={tiny_folder}",
        f"data.cache_dir={tmp_path_factory.mktemp('cache')}",
        "data.image_size=32",
        "data.batch_size=8",
        "model=resnet",
        "model.widths=[8,8,8,8]",
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_epochs=4",
        "logger=none",
        "callbacks=[]",
    ]


FACES = {"train": (10, 3), "val": (4, 1), "test": (4, 1)}


@pytest.fixture(scope="session")
def face_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """46 pictures in 2 classes, sorted as `split/class/image.png`.

    In each split and class there are as many of one face as `FACES` says, turned, shifted, scaled and lit in many ways,
    then as many of noise.
    """
    astronaut = pytest.importorskip("skimage.data").astronaut()
    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for split, (faces, noises) in FACES.items():
        for name in ("calm", "merry"):
            (root / split / name).mkdir(parents=True)
            for number in range(faces + noises):
                width, height = ((160, 160), (180, 140))[number % 2]
                if number < faces:
                    turn = cv2.getRotationMatrix2D((224, 115), rng.uniform(-25, 25), 0.7 * rng.uniform(0.8, 1.25))
                    turn[:, 2] += np.array([width, height]) / 2 - (224, 115) + rng.uniform(-12, 12, 2)
                    image = cv2.warpAffine(astronaut, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
                    image = (image * rng.uniform(0.5, 1)).astype(np.uint8)
                else:
                    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                assert cv2.imwrite(str(root / split / name / f"{number:02d}.png"), image[:, :, ::-1])
    return root


def _call(*arguments: object) -> int:
    """Runs `fer ...` in this process and returns its exit status."""
    root = logging.getLogger()
    typed, handlers, level = sys.argv, root.handlers[:], root.level
    sys.argv = ["fer", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        # Hydra points the log of the process into the folder of the run.
        sys.argv, root.handlers, root.level = typed, handlers, level
    return 0


@pytest.fixture(scope="session")
def fer() -> Callable[..., int]:
    """`fer(*arguments)` in this process; returns the exit status."""
    return _call


@pytest.fixture(scope="session")
def fer_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`fer(*arguments)` in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fer_lightning", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture(scope="session")
def fer_undrawn() -> Callable[..., int]:
    """`fer(*arguments)`, whose runs and searches end without figures and tables: a third of the time of short ones."""

    def run(*arguments: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fer_lightning.commands.finish.show_record", lambda *_: None)
            patch.setattr("fer_lightning.commands.sweep.draw_search", lambda *_: ({}, []))
            return _call(*arguments)

    return run


# Its processes have imported what takes seconds; the process that they are copies of has done nothing else.
_COPIES = multiprocessing.get_context("forkserver")
_COPIES.set_forkserver_preload(["fer_lightning.commands.train", "hydra_plugins.fer_sweeper.sweeper", "optuna"])
_PROGRAM = """
import os, sys
os.environ.clear()
os.environ.update(environment)
os.chdir(folder)
for number, path in enumerate(outputs, 1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
sys.argv = arguments
exec(compile(code, "program", "exec"), {"__name__": "__main__"})
"""


class Copy:
    """Python code in a process of its own that starts at once; the methods are those of `subprocess.Popen`."""

    def __init__(self, code: str, arguments: Sequence[object], outputs: Sequence[Path], env: Mapping[str, str]) -> None:
        known = {"environment": dict(env), "folder": str(Path.cwd()), "outputs": [str(path) for path in outputs]}
        known |= {"arguments": ["fer", *map(str, arguments)], "code": code}
        self._process = _COPIES.Process(target=exec, args=(_PROGRAM, known), daemon=True)
        self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


@pytest.fixture(scope="session")
def start_copy() -> Callable[..., Copy]:
    """`start_copy(code, *arguments, outputs=(stdout, stderr), env=os.environ)`, see `Copy`."""

    def start(code: str, *arguments: object, outputs: Sequence[Path], env: Mapping[str, str] | None = None) -> Copy:
        return Copy(code, arguments, outputs, os.environ if env is None else env)

    return start


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., ExpressionDataModule]:
    """Makes a data module of small images; keyword arguments replace and extend its options."""

    def make(cls: type[ExpressionDataModule], root: Path | str | None, **options: object) -> ExpressionDataModule:
        small = {"image_size": 16, "channels": 1, "batch_size": 4, "val_fraction": 0.5, "align_workers": 1}
        small |= {"split": "official", "cache_dir": str(tmp_path / "cache")}
        return cls(root=None if root is None else str(root), **{**small, **options})

    return make


@pytest.fixture(scope="session")
def open_browser() -> Callable[..., AbstractContextManager[Any]]:
    """`with open_browser(*options) as browser:` starts Chromium or Chrome; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("needs a Chromium or Chrome: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    quiet = ["quic", "background-networking", "component-update", "sync"]
    common = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in quiet)]

    @contextmanager
    def start(*options: str) -> Iterator[Any]:
        with playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=chromium, args=[*common, *options])
            yield browser
            browser.close()

    return start


@pytest.fixture(scope="session")
def trained_run(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished `fer train` with the options `tiny`. Do not write to it."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert _call("train", *tiny, f"hydra.run.dir={folder}") == 0
    return folder


@pytest.fixture(scope="session")
def affect_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ferplus` with an untrained second output for valence and arousal, as a safetensors file."""
    import torch

    from fer_lightning.models import add_affect_head
    from fer_lightning.training.checkpoints import load_net, save_net

    trained = load_net(Path("ferplus"))
    torch.manual_seed(0)
    add_affect_head(trained.net)
    trained.description["model"]["affect"] = True
    path = tmp_path_factory.mktemp("affect") / "net.safetensors"
    save_net(trained, path, half=False)
    return path


def _weights(folder: Path, name: str) -> dict[str, Any]:
    import torch

    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def _assert_same_run(one: Path, other: Path) -> None:
    import pandas as pd
    import torch

    from fer_lightning.results.run_record import RunRecord

    for name in ("best", "last"):
        first, second = _weights(one, name), _weights(other, name)
        assert first.keys() == second.keys() and first
        assert all(torch.equal(first[key], second[key]) for key in first)
    left, right = RunRecord.read(one), RunRecord.read(other)
    timing = [column for column in left.history if "seconds" in column]
    pd.testing.assert_frame_equal(left.history.drop(columns=timing), right.history.drop(columns=timing))
    pd.testing.assert_frame_equal(left.predictions, right.predictions)
    varying = {"timing": None, "commit": None, "overrides": None}
    assert {**left.metrics, **varying} == {**right.metrics, **varying}


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """`assert_same_run(one, other)`: equal weights to the last bit, an equal history and record but for their times."""
    return _assert_same_run


FER2013_USAGES = ("Training", "PublicTest", "PrivateTest")
TREE_RNG = np.random.default_rng(0)


def _write_image(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), TREE_RNG.integers(0, 256, (side, side, 3), np.uint8))


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _write_fer2013(root: Path) -> None:
    rows = [f"{code},{_pixels()},{usage}" for usage in FER2013_USAGES for code in range(7)]
    _write_lines(root / "fer2013.csv", ["emotion,pixels,Usage", *rows])


def _pixels() -> str:
    return " ".join(map(str, TREE_RNG.integers(0, 256, 48 * 48)))


def _write_ferplus(root: Path) -> None:
    """All ten votes of each row go to one of the eight emotions."""
    emotions = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = [(usage, emotion) for usage in FER2013_USAGES for emotion in range(8)]
    votes = [
        f"{usage},fer{number:07d}.png,{','.join('10' if emotion == column else '0' for column in range(10))}"
        for number, (usage, emotion) in enumerate(rows)
    ]
    _write_lines(root / "fer2013new.csv", [f"Usage,Image name,{emotions}", *votes])
    _write_lines(root / "fer2013.csv", ["emotion,pixels,Usage", *[f"0,{_pixels()},{usage}" for usage, _ in rows]])


def _write_rafdb(root: Path) -> None:
    names = [(f"{split}_{number:05d}", number % 7 + 1) for split in ("train", "test") for number in range(1, 22)]
    _write_lines(root / "basic/EmoLabel/list_patition_label.txt", [f"{name}.jpg {code}" for name, code in names])
    for number, (name, _) in enumerate(names):
        _write_image(root / "basic/Image/aligned" / f"{name}_aligned.jpg", 100)
        landmarks = [f"{x}.0\t{x + 1}.0" for x in range(5)]
        _write_lines(
            root / "basic/Annotation/manual" / f"{name}_manu_attri.txt",
            [*landmarks, *map(str, (number % 2, number % 3, number % 5))],
        )


def _write_affectnet(root: Path) -> None:
    for part in ("train_set", "val_set"):
        for number in range(24):
            _write_image(root / part / "images" / f"{number}.jpg", 112)
            annotations = {"exp": str(number % 8), "val": "-0.5", "aro": "0.25", "lnd": np.zeros(136)}
            for kind, value in annotations.items():
                (root / part / "annotations").mkdir(parents=True, exist_ok=True)
                np.save(root / part / "annotations" / f"{number}_{kind}.npy", value)


def _write_ckplus(root: Path) -> None:
    """Ten subjects, one for each fold, each in seven sequences of three frames."""
    for subject in range(10):
        for code in range(1, 8):
            stem = f"S{subject:03d}_{code:03d}"
            folder = f"S{subject:03d}/{code:03d}"
            for frame in range(1, 4):
                _write_image(root / "cohn-kanade-images" / folder / f"{stem}_{frame:08d}.png", 48)
            _write_lines(root / "Emotion" / folder / f"{stem}_{3:08d}_emotion.txt", [f"   {code:.7e}"])


def _write_folder(root: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("angry", "happy", "bored"):
            for number in range(2):
                _write_image(root / split / name / f"{number}.png", 64)


TREES: dict[str, Callable[[Path], None]] = {
    "fer2013": _write_fer2013,
    "ferplus": _write_ferplus,
    "rafdb": _write_rafdb,
    "affectnet": _write_affectnet,
    "ckplus": _write_ckplus,
    "folder": _write_folder,
}


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny tree of noise for each data set, in its official layout. Do not write to it."""
    folder = tmp_path_factory.mktemp("trees")
    for name, write in TREES.items():
        write(folder / name)
    return folder


RECORD_CLASSES = ("happy", "sad")
RECORD_TARGETS = np.arange(200) % 2


def _write_record(
    folder: Path, overrides: Sequence[str], seed: int, right: np.ndarray, dataset: str = "fer2013", parameters: int = 10
) -> None:
    import pandas as pd

    protocol = {
        "dataset": dataset,
        "release": "csv",
        "classes": list(RECORD_CLASSES),
        "label_rule": "single label",
        "split": "official",
        "selection": "carved",
        "test": "PublicTest",
        "counts": {"train": 50, "val": 20, "test": len(right)},
        "fingerprint": dataset,
    }
    accuracy = float(right.mean())
    scores = {"n": len(right), "accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}
    scores["per_class"] = {"happy": {"recall": float(right[::2].mean())}, "sad": {"recall": float(right[1::2].mean())}}
    metrics = {"protocol": protocol, "model": "Net", "parameters": parameters, "seed": seed, "commit": "abc"}
    metrics |= {"overrides": [*overrides, f"seed={seed}"], "splits": {"test": scores, "test_clean": scores}}
    predicted = np.where(right, RECORD_TARGETS, 1 - RECORD_TARGETS)
    table = {"id": [f"row_{row}" for row in range(len(right))], "split": "test", "target": RECORD_TARGETS}
    table |= {f"prob_{name}": np.where(predicted == index, 0.9, 0.1) for index, name in enumerate(RECORD_CLASSES)}
    folder.mkdir(parents=True)
    pd.DataFrame(table).to_parquet(folder / "predictions.parquet", index=False)
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="session")
def write_record() -> Callable[..., None]:
    """`write_record(folder, overrides, seed, right, dataset="fer2013", parameters=10)`: a run that never took place.

    `right` says of each of 200 test images whether it is classified correctly; happy ones (even) and sad ones (odd)
    take turns.
    """
    return _write_record


def make_study_report() -> StudyReport:
    """A study that never took place: three rows, of which one was not run, and text that HTML could mistake."""
    import pandas as pd
    from matplotlib.figure import Figure

    from fer_lightning.studies.comparison_table import COLUMNS
    from fer_lightning.studies.presentation import present_comparison
    from fer_lightning.studies.report import StudyReport

    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, 1])
    shared = {"dataset": "fer2013", "n_seeds": 3, "interval": "seeds"}
    credible = {
        "credible_low": 0.733,
        "credible_high": 0.768,
        "credible_protocol": "PublicTest",
        "annotator_agreement": 0.63,
    }
    full = {"row": "Full <b>&\"'", "published": 0.9406, "mean": 0.493, "sd": 0.0123, "low": 0.462, "high": 0.524}
    rows = [
        {**full, "gap": -0.4476, **shared, **credible},
        {"row": "No fusion", "published": 0.9, "published_difference": -0.0406, "mean": 0.41, "sd": 0.002, "low": 0.4}
        | {"high": 0.42, "gap": -0.49, "difference": -0.083, "difference_low": -0.1, "difference_high": -0.066}
        | {"test": "paired t, 3 seeds", "p": 0.001, "p_holm": 0.002, **shared, **credible}
        | {"pairs": 3, "pooled_difference": -0.083, "pooled_low": -0.095, "pooled_high": -0.071, "pooled_p_holm": 0.004}
        | {"difference_sd": 0.008, "difference_sd_low": 0.005, "difference_sd_high": 0.03, "detectable": 0.015}
        | {"pooled_detectable": 0.012, "seeds_for_a_point": 8},
        {"row": "No search", "published": 0.93, "published_difference": -0.0106, "n_seeds": 0},
    ]
    comparison = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    seeds = pd.DataFrame({"variant": ["full", "full", "no_fusion"], "seed": [0, 1, 0], "accuracy": [0.49, 0.5, np.nan]})
    return StudyReport(
        name="table_6",
        title="Table 6: <i>components</i>",
        facts={"Data": "fer2013 & friends", "Seeds": "0, 1, 2"},
        command="fer train study=table_6 'data.root=<folder>'",
        comparisons={
            "accuracy": present_comparison(comparison, str(full["row"])),
            "macro F1": present_comparison(comparison.assign(mean=comparison["mean"] - 0.1), str(full["row"])),
        },
        figures={"scores": figure},
        captions={"scores": "Scores < 1 & more."},
        runs=seeds.assign(parameters=1234567, train_seconds=123.7, loss=np.inf, best_epoch=[1, 2, np.nan]),
        unfinished=["ablation=no_search seed=0"],
        beside={"Table 11": pd.DataFrame({"row": ["Full"], "published": ["94.1 % ± 0.3"]})},
    )


@pytest.fixture(scope="session")
def study_report() -> StudyReport:
    """See `make_study_report`."""
    return make_study_report()
