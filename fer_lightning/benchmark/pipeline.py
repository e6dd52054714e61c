"""The pipeline benchmark: several programs process the same frames in rounds.

Whatever disturbs a round disturbs all of them. Here are the frames, our own programs (one network by several backends,
in several precisions) and the table of medians, 95th percentiles and ratios to a reference.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from fer_lightning.benchmark.latency import ratio_of_rounds, summarise_times
from fer_lightning.benchmark.peers import Driver, DriverError
from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import multiply_adds, parameters
from fer_lightning.inference.images import read_picture
from fer_lightning.training.checkpoints import load_net

WARM_UP = 2  # times that each looks at all frames before it is timed
COMPARED = ("whole", "cpu")  # stages that every contestant has
BACKENDS = ("torch", "onnxruntime")
PROGRAM = "fer_lightning.benchmark.drivers.own"
WIDTH, HEIGHT = 640, 480
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass
class Contest:
    """What came of a contest.

    Attributes:
        times: One row a measurement: `who`, `round`, `stage` (`whole` is from frame to label in elapsed time, `cpu` the
            same in processor time, others are its parts) and `milliseconds`.
        facts: Of each who took part: `name`, `version`, `settings`, `labels` (one a frame, None where no face was
            found) and `peak_memory_mb`.
        left_out: Why others did not, by name.
    """

    times: pd.DataFrame
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def hold_contest(
    commands: Mapping[str, Sequence[str]],
    frames: Sequence[Path],
    threads: int,
    rounds: int,
    progress: Callable[[Sequence[Any], str], Iterable[Any]],
) -> Contest:
    """Starts all contestants and lets them look at all frames once a round, one contestant after the other.

    The one that begins changes from round to round.

    Args:
        commands: How to start them, by name.
        frames: Files of raw RGB bytes, 640 x 480.
        threads: Threads and cores of each of them.
        rounds: How often each looks at all frames.
        progress: Goes through what it is given and shows how far it is; takes what it goes through and a word for it.
    """
    contest = Contest(pd.DataFrame(columns=["who", "round", "stage", "milliseconds"]))
    request = {"frames": [str(path) for path in frames], "width": WIDTH, "height": HEIGHT, "threads": threads}
    tables: list[pd.DataFrame] = []
    with ExitStack() as stack:
        drivers: dict[str, Driver] = {}
        for who in progress(list(commands), "Starting"):
            try:
                driver = stack.enter_context(closing(Driver(commands[who], threads)))
                contest.facts[who] = driver.ask(request)
                driver.ask({"repeats": WARM_UP * len(frames)})
                drivers[who] = driver
            except DriverError as error:
                contest.left_out[who] = str(error)
        for number in progress(range(rounds), "Timing"):
            for who in _from(list(drivers), number):
                try:
                    answer = drivers[who].ask({"repeats": len(frames)})
                except DriverError as error:
                    contest.left_out[who] = str(error)
                    del drivers[who]
                    continue
                contest.facts[who]["labels"] = answer["labels"]
                tables.append(_rows(who, number, answer["milliseconds"]))
        for who, driver in drivers.items():
            contest.facts[who]["peak_memory_mb"] = driver.peak_memory()
    if tables:
        times = pd.concat(tables, ignore_index=True)
        contest.times = times[~times["who"].isin(list(contest.left_out))]
    contest.facts = {who: facts for who, facts in contest.facts.items() if who not in contest.left_out}
    return contest


def require_labels(contest: Contest, ours: Iterable[str], frames: str | None) -> None:
    """Refuses a contest in which one of our programs failed, or found no face in one of the user's `frames`."""
    for who in ours:
        if who in contest.left_out:
            raise UserError(f"{who} cannot be timed: {contest.left_out[who]}")
        labels = contest.facts[who]["labels"]
        if None in labels:
            raise UserError(
                f"frames={frames}: {labels.count(None)} of {len(labels)} show no face, so that there is no label: "
                "give a photo or a video with one face that is well visible."
            )


def _from(names: list[str], number: int) -> list[str]:
    start = number % max(1, len(names))
    return names[start:] + names[:start]


def _rows(who: str, number: int, milliseconds: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    parts = [pd.DataFrame({"stage": stage, "milliseconds": values}) for stage, values in milliseconds.items()]
    return pd.concat(parts).assign(who=who, round=number)


def contest_table(contest: Contest, reference: str) -> pd.DataFrame:
    """Summarises a contest.

    Args:
        contest: With at least the reference in it.
        reference: Name of the one that the others are compared with.

    Returns:
        One row a contestant and stage: `who`, `stage`, `median_ms`, `p95_ms`, `fps`, `n`, `ratio` (how many times
        longer than the reference, NaN for parts), `ratio_low`, `ratio_high`, `label` (the most frequent one), `found`
        (share of the frames with a face), `peak_memory_mb`, `version` and `settings`.
    """
    table = summarise_times(contest.times, ["who", "stage"])
    for (who, stage), row in table.groupby(["who", "stage"]).groups.items():
        if stage in COMPARED:
            ratio = ratio_of_rounds(_by_round(contest, who, stage), _by_round(contest, reference, stage))
            table.loc[row, ["ratio", "ratio_low", "ratio_high"]] = [ratio.median, ratio.low, ratio.high]
    told = pd.DataFrame.from_dict({who: _told(facts) for who, facts in contest.facts.items()}, orient="index")
    order = {who: place for place, who in enumerate(contest.facts)}
    table = table.join(told, on="who").sort_values("who", key=lambda names: names.map(order), kind="stable")
    return table.reset_index(drop=True)


def _by_round(contest: Contest, who: str, stage: str) -> pd.Series:
    own = contest.times[(contest.times["who"] == who) & (contest.times["stage"] == stage)]
    return own.set_index("round")["milliseconds"]


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": most_frequent(facts["labels"]),
        "found": sum(label is not None for label in facts["labels"]) / len(facts["labels"]),
        "peak_memory_mb": facts["peak_memory_mb"],
        "version": facts["version"],
        "settings": facts["settings"],
    }


def most_frequent(labels: Sequence[str | None]) -> str | None:
    """The label that most frames got; None where no face was found in any."""
    counts = Counter(label for label in labels if label is not None)
    return counts.most_common(1)[0][0] if counts else None


def own_commands(source: str, backends: list[str], int8: str | None, folder: Path) -> dict[str, list[str]]:
    """How to start a network behind each backend.

    Args:
        source: A name or file as `open_classifier` takes it.
        backends: Of `BACKENDS`; PyTorch is passed over where the source is an ONNX file. ONNX Runtime is timed twice:
            looking at every frame anew, and following the face as in a video.
        int8: A quantised ONNX file, one more contestant; or None.
        folder: Where a network that is no ONNX file is exported to, as `benchmark.onnx`.

    Returns:
        Commands by name, in the order of the backends.

    Raises:
        UserError: A backend is unknown, or none is left.
    """
    is_onnx = Path(source).suffix == ".onnx"
    commands = {}
    for backend in backends:
        if backend not in BACKENDS:
            raise UserError(f"backends has {backend}, which is unknown: use any of {', '.join(BACKENDS)}.")
        if backend == "onnxruntime":
            file = source if is_onnx else _exported(source, folder)
            commands["ours onnxruntime"] = _command(file, backend)
            commands["ours video"] = [*_command(file, backend), "follow"]
        elif not is_onnx:
            commands["ours torch"] = _command(source, backend)
    if int8 is not None:
        commands["ours int8"] = _command(int8, "onnxruntime")
    if not commands:
        raise UserError(f"checkpoint={source} is an ONNX file: use backends=[onnxruntime].")
    return commands


def costs(source: str) -> dict[str, int] | None:
    """Parameters, multiply-adds and FLOPs (two each) of a network for one face; None for an ONNX file.

    Raises:
        UserError: There is no such network.
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
            f"backends has onnxruntime, for which {source} must be written as ONNX, and that needs the package "
            f"{error.name}: pip install 'fer_lightning[onnx]', or use backends=[torch]."
        ) from None
    trained = load_net(Path(source))
    file = folder / "benchmark.onnx"
    export_onnx(trained.net, onnx_metadata(trained, source), file)
    return str(file)


def astronaut_frames(count: int) -> list[np.ndarray]:
    """Frames as a camera gives them of one person who moves: scikit-image's picture of Eileen Collins (NASA).

    Args:
        count: Number of frames; from one to the next the face moves to the left and comes closer.

    Returns:
        uint8 RGB `(480, 640, 3)` each; the face is about 130 to 170 pixels high.

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        from skimage.data import astronaut
    except ImportError:
        raise UserError(
            "frames=null needs the picture that comes with scikit-image: pip install scikit-image, or give a photo or "
            "a video with frames=<file>."
        ) from None
    picture = astronaut()
    return [_moved(picture, place) for place in np.linspace(0, 1, count)]


def _moved(picture: np.ndarray, place: float) -> np.ndarray:
    scale = 1.25 + 0.35 * place  # at the smaller one the picture is as wide as the frame
    shift = np.array([(picture.shape[1] * scale - WIDTH) * place, 10 * place])
    move = np.array([[scale, 0, -shift[0]], [0, scale, -shift[1]]])
    return cv2.warpAffine(picture, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def read_frames(path: Path, count: int) -> list[np.ndarray]:
    """Frames of the user: a photo, the photos of a folder, or a video.

    Args:
        path: The file or folder.
        count: How many of them at most, the first ones.

    Returns:
        uint8 RGB `(480, 640, 3)` each, see `fit_frame`.

    Raises:
        UserError: It is nothing of all that.
    """
    if path.is_dir():
        pictures = [read_picture(file) for file in sorted(path.iterdir())[:count]]
    else:
        pictures = _video(path, count) or [read_picture(path)]
    if not pictures:
        raise UserError(f"frames={path} is an empty folder: give a photo, a folder of photos, or a video.")
    return [fit_frame(picture) for picture in pictures]


def _video(path: Path, count: int) -> list[np.ndarray]:
    """The first frames of a video; none where the file is none, by its name or its content."""
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
    """Brings a picture to the size of a frame: scaled to fit, centred, black around it.

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
    """Writes frames as raw RGB bytes, which every language reads without a decoder.

    Returns:
        The files, in the order of the frames.
    """
    paths = [folder / f"{number:03d}.rgb" for number in range(len(frames))]
    for path, frame in zip(paths, frames):
        frame.tofile(path)
    return paths
