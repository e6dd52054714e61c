"""The pipeline benchmark, in which several programs process the same frames in rounds.

A disturbance of a round affects all of them. This module has the frames, our own programs (one network by several
backends and precisions) and the table of medians, 95th percentiles and ratios to a reference.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from fer_lightning.benchmark.latency import ratio_of_rounds, summarise_times
from fer_lightning.benchmark.peers import Driver, DriverError
from fer_lightning.errors import UserError, require_known
from fer_lightning.evaluation.efficiency import multiply_adds, parameters
from fer_lightning.inference.classifier import ONNX_BACKENDS
from fer_lightning.inference.images import read_picture
from fer_lightning.inference.predictor import Predictor
from fer_lightning.training.checkpoints import load_net

WARM_UP = 2  # passes over all frames before those that are timed
COMPARED = ("whole", "cpu")  # stages that every program has
BACKENDS = ("torch", *ONNX_BACKENDS)
PROGRAM = "fer_lightning.benchmark.drivers.own"
WIDTH, HEIGHT = 640, 480
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass
class Comparison:
    """Measurements of several programs.

    Attributes:
        times: One row per measurement: `who` (name of the program), `round`, `stage` (`whole` is the elapsed time from
            frame to label, `cpu` its processor time, others are parts of it) and `milliseconds`.
        facts: For each program `name`, `version`, `settings`, `labels` (one per frame, None without a face) and
            `peak_memory_mb`.
        left_out: Reason for each program that could not be timed.
    """

    times: pd.DataFrame
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def run_comparison(
    commands: Mapping[str, Sequence[str]],
    frames: Sequence[Path],
    threads: int,
    rounds: int,
    progress: Callable[[Sequence[Any], str], Iterable[Any]],
) -> Comparison:
    """Times several programs, each of which processes all frames once in each round, one program after the other.

    The program that begins changes from round to round.

    Args:
        commands: Command of each program by its name.
        frames: Files of raw RGB bytes, 640 x 480.
        threads: Number of threads and cores of each program.
        rounds: Number of rounds.
        progress: Progress bar over a sequence; takes the sequence and a description.
    """
    comparison = Comparison(pd.DataFrame(columns=["who", "round", "stage", "milliseconds"]))
    request = {"frames": [str(path) for path in frames], "width": WIDTH, "height": HEIGHT, "threads": threads}
    tables: list[pd.DataFrame] = []
    with ExitStack() as stack:
        drivers: dict[str, Driver] = {}
        for who in progress(list(commands), "Starting"):
            try:
                driver = stack.enter_context(closing(Driver(commands[who], threads)))
                comparison.facts[who] = driver.ask(request)
                driver.ask({"repeats": WARM_UP * len(frames)})
                drivers[who] = driver
            except DriverError as error:
                comparison.left_out[who] = str(error)
        for number in progress(range(rounds), "Timing"):
            for who in _from(list(drivers), number):
                try:
                    answer = drivers[who].ask({"repeats": len(frames)})
                except DriverError as error:
                    comparison.left_out[who] = str(error)
                    del drivers[who]
                    continue
                comparison.facts[who]["labels"] = answer["labels"]
                tables.append(_rows(who, number, answer["milliseconds"]))
        for who, driver in drivers.items():
            comparison.facts[who]["peak_memory_mb"] = driver.peak_memory()
    if tables:
        times = pd.concat(tables, ignore_index=True)
        comparison.times = times[~times["who"].isin(list(comparison.left_out))]
    comparison.facts = {who: facts for who, facts in comparison.facts.items() if who not in comparison.left_out}
    return comparison


def require_labels(comparison: Comparison, ours: Iterable[str], frames: str | None) -> None:
    """Raises `UserError` where one of our programs failed, or found no face in one of the user's `frames`."""
    for who in ours:
        if who in comparison.left_out:
            raise UserError(f"{who} cannot be timed: {comparison.left_out[who]}")
        labels = comparison.facts[who]["labels"]
        if None in labels:
            raise UserError(
                f"frames={frames} must show a face in every frame; none was found in {labels.count(None)} of "
                f"{len(labels)}: use a photo or a video with one clearly visible face."
            )


def _from(names: list[str], number: int) -> list[str]:
    start = number % max(1, len(names))
    return names[start:] + names[:start]


def _rows(who: str, number: int, milliseconds: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    parts = [pd.DataFrame({"stage": stage, "milliseconds": values}) for stage, values in milliseconds.items()]
    return pd.concat(parts).assign(who=who, round=number)


def comparison_table(comparison: Comparison, reference: str) -> pd.DataFrame:
    """Summary of a comparison.

    Args:
        comparison: Measurements, at least of the reference.
        reference: Name of the program that the others are compared with.

    Returns:
        One row per program and stage: `who`, `stage`, `median_ms`, `p95_ms`, `fps`, `n`, `ratio` (to the time of the
        reference, NaN for parts), `ratio_low`, `ratio_high`, `label` (the most frequent one, missing where no face
        was found), `found` (share of the frames with a face), `peak_memory_mb`, `version` and `settings`.
    """
    table = summarise_times(comparison.times, ["who", "stage"])
    for (who, stage), row in table.groupby(["who", "stage"]).groups.items():
        if stage in COMPARED:
            ratio = ratio_of_rounds(_by_round(comparison, who, stage), _by_round(comparison, reference, stage))
            table.loc[row, ["ratio", "ratio_low", "ratio_high"]] = [ratio.median, ratio.low, ratio.high]
    rows = []
    for who, facts in comparison.facts.items():
        labels = Counter(label for label in facts["labels"] if label is not None)
        label = labels.most_common(1)[0][0] if labels else None
        described = {name: facts[name] for name in ("peak_memory_mb", "version", "settings")}
        rows.append({"who": who, "label": label, "found": labels.total() / len(facts["labels"]), **described})
    order = {who: place for place, who in enumerate(comparison.facts)}
    table = table.merge(pd.DataFrame(rows), on="who")
    return table.sort_values("who", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _by_round(comparison: Comparison, who: str, stage: str) -> pd.Series:
    times = comparison.times
    return times[(times["who"] == who) & (times["stage"] == stage)].set_index("round")["milliseconds"]


def own_commands(source: str, backends: list[str], int8: str | None, folder: Path) -> dict[str, list[str]]:
    """Commands of our own programs, which run a network with each backend.

    Args:
        source: Name or file of the network, as for `open_classifier`.
        backends: Names in `BACKENDS`; `"torch"` is skipped for an ONNX file. ONNX Runtime is timed twice: detecting the
            face in every frame, and following it as in a video.
        int8: Quantised ONNX file that is timed as well, also by OpenVINO if that is a backend, or None.
        folder: Folder to which a network is exported as `benchmark.onnx`, unless it is an ONNX file.

    Returns:
        Commands by name, in the order of the backends.

    Raises:
        UserError: A backend is unknown, or none can be used.
    """
    is_onnx = Path(source).suffix == ".onnx"
    commands = {}
    for backend in backends:
        require_known("backends", backend, BACKENDS)
    file = source if is_onnx or not set(ONNX_BACKENDS) & set(backends) else _exported(source, folder)
    for backend in backends:
        if backend in ONNX_BACKENDS:
            commands[f"ours {backend}"] = _command(file, backend)
        elif not is_onnx:
            commands["ours torch"] = _command(source, backend)
        if backend == "onnxruntime":
            commands["ours video"] = [*_command(file, backend), "follow"]
    if int8 is not None:
        commands["ours int8"] = _command(int8, "onnxruntime")
        if "openvino" in backends:
            commands["ours int8 openvino"] = _command(int8, "openvino")
    if not commands:
        raise UserError(f"checkpoint={source} is an ONNX file: use backends=[onnxruntime].")
    return commands


def costs(source: str) -> dict[str, int] | None:
    """Parameters, multiply-adds and FLOPs (two per multiply-add) of a network for one face; None for an ONNX file.

    Raises:
        UserError: The network does not exist.
    """
    if Path(source).suffix == ".onnx":
        return None
    trained = load_net(Path(source))
    size, channels = (trained.description["preprocessing"][name] for name in ("image_size", "channels"))
    work = multiply_adds(trained.net, (torch.zeros(1, channels, size, size),))
    return {"parameters": parameters(trained.net), "multiply_adds": work, "flops": 2 * work}


def _command(source: str, backend: str) -> list[str]:
    return [sys.executable, "-m", PROGRAM, source, backend]


def _exported(source: str, folder: Path) -> str:
    try:
        from fer_lightning.deploy.onnx import export_onnx, onnx_metadata
    except ImportError as error:
        raise UserError(
            f"backends=[{', '.join(ONNX_BACKENDS)}] export {source} to ONNX, which needs the package {error.name}: "
            "pip install 'fer_lightning[onnx]', or use backends=[torch]."
        ) from None
    trained = load_net(Path(source))
    file = folder / "benchmark.onnx"
    export_onnx(trained.net, onnx_metadata(trained, source), file)
    return str(file)


def astronaut_frames(count: int) -> Iterator[np.ndarray]:
    """Yields frames of one moving person: scikit-image's picture of Eileen Collins (NASA), shifted and scaled.

    Args:
        count: Number of frames; from one to the next the face moves to the left and grows.

    Yields:
        uint8 RGB `(480, 640, 3)` each; the face is about 130 to 170 pixels high.

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        from skimage.data import astronaut
    except ImportError:
        raise UserError(
            "frames=null needs the picture that comes with scikit-image: pip install scikit-image, or use a photo or a "
            "video with frames=<file>."
        ) from None
    picture = astronaut()
    for place in np.linspace(0, 1, count):
        yield _moved(picture, place)


def _moved(picture: np.ndarray, place: float) -> np.ndarray:
    scale = 1.25 + 0.35 * place  # at 1.25 the picture is as wide as the frame
    shift = np.array([(picture.shape[1] * scale - WIDTH) * place, 10 * place])
    move = np.array([[scale, 0, -shift[0]], [0, scale, -shift[1]]])
    return cv2.warpAffine(picture, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def write_sources(pictures: int, frames: int, folder: Path) -> dict[str, Path]:
    """Writes a folder of JPEG pictures and an MP4 video of `astronaut_frames`, and returns their paths by name."""
    photos, film = folder / "pictures", folder / "video.mp4"
    photos.mkdir(parents=True)
    for number, frame in enumerate(astronaut_frames(pictures)):
        cv2.imwrite(str(photos / f"{number:05d}.jpg"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"mp4v"), 30, (WIDTH, HEIGHT))
    for frame in astronaut_frames(frames):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return {f"folder of {pictures} pictures": photos, f"video of {frames} frames": film}


def measure_throughput(
    predictors: Mapping[str, Predictor], sources: Mapping[str, Path], rounds: Iterable[object]
) -> pd.DataFrame:
    """Times predictions from file to label; in each round every predictor reads every source once.

    Args:
        predictors: Predictors by name; the one that begins changes from round to round.
        sources: Folders of pictures and video files by name.
        rounds: Iterable with one item per round, such as a range or a progress bar.

    Returns:
        One row per round, source and predictor: `round`, `source`, `who`, `faces`, `seconds` (elapsed) and
        `cpu_seconds` (processor time of all threads).
    """
    rows = []
    for number, _ in enumerate(rounds):
        for name, path in sources.items():
            for who in _from(list(predictors), number):
                started, worked = perf_counter(), process_time()
                predictor = predictors[who]
                results = predictor(sorted(path.iterdir())) if path.is_dir() else predictor.video(path)
                faces = sum(len(result) for result in results)
                rows.append((number, name, who, faces, perf_counter() - started, process_time() - worked))
    return pd.DataFrame(rows, columns=["round", "source", "who", "faces", "seconds", "cpu_seconds"])


def read_frames(path: Path, count: int) -> list[np.ndarray]:
    """Frames of a photo, of the photos in a folder, or of a video.

    Args:
        path: Path of the file or folder.
        count: Largest number of frames; the first ones are used.

    Returns:
        uint8 RGB `(480, 640, 3)` each, see `fit_frame`.

    Raises:
        UserError: The path is not one of these.
    """
    if path.is_dir():
        pictures = [read_picture(file) for file in sorted(path.iterdir())[:count]]
    else:
        pictures = _video(path, count) or [read_picture(path)]
    if not pictures:
        raise UserError(f"frames={path} is an empty folder: use a photo, a folder of photos, or a video.")
    return [fit_frame(picture) for picture in pictures]


def _video(path: Path, count: int) -> list[np.ndarray]:
    """First frames of a video; empty where the suffix or the content of the file is not that of a video."""
    if path.suffix.lower() not in VIDEOS:
        return []
    video = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while len(frames) < count:
        whole, frame = video.read()
        if not whole:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    video.release()
    return frames


def fit_frame(picture: np.ndarray) -> np.ndarray:
    """Picture in the size of a frame: scaled to fit, centred, with black borders.

    Args:
        picture: uint8 RGB `(H, W, 3)`.

    Returns:
        uint8 RGB `(480, 640, 3)`.
    """
    height, width = picture.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    top, left = (HEIGHT - size[1]) // 2, (WIDTH - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = fitted
    return frame


def write_frames(frames: list[np.ndarray], folder: Path) -> list[Path]:
    """Writes frames as raw RGB bytes, which every language reads without a decoder, and returns their paths."""
    paths = [folder / f"{number:03d}.rgb" for number in range(len(frames))]
    for path, frame in zip(paths, frames):
        frame.tofile(path)
    return paths
