"""Parity of exported networks with PyTorch: difference of logits, accuracy, agreement and time on the same faces.

A file keeps one of these faces and its probabilities, with which `fer verify` compares what it computes later.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from rich.table import Table
from scipy.special import softmax
from torch import nn

from fer_lightning.data.auxiliary import SIDE_SIZES, SideVectors
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.dataset import ExpressionDataset
from fer_lightning.data.labels import SEVEN
from fer_lightning.data.store import LazyImages, track
from fer_lightning.data.synthetic import SyntheticFaces
from fer_lightning.errors import UserError
from fer_lightning.evaluation.cross_dataset import share_classes
from fer_lightning.evaluation.efficiency import thread_milliseconds
from fer_lightning.evaluation.scoring import score
from fer_lightning.plots.text import NOTHING, percent, text_table
from fer_lightning.results.run_record import PROBABILITY_PREFIX

ROUNDS = 50  # of timing
Compute = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # from inputs by name to logits (B, K)
_BATCH = 50
_SYNTHETIC = 70
_DIFFICULTY = 0.55
_SCORES = ("n", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "ece")


@dataclass(frozen=True)
class Measured:
    """Measurements of one format of a network.

    Attributes:
        form: Name of the format, for example `"PyTorch, float32"`.
        megabytes: Size of its file in 10^6 bytes; None for the network in memory.
        difference: Largest absolute difference of a logit from PyTorch in float32.
        agreement: Share of faces, in 0..1, with the same label as PyTorch in float32.
        scores: Scores, see `scores_of`; empty without labels.
        milliseconds: Median processor time of one face with one thread.
    """

    form: str
    megabytes: float | None
    difference: float
    agreement: float
    scores: dict[str, float]
    milliseconds: float


def torch_compute(net: nn.Module) -> Compute:
    """Logits of a network in PyTorch."""

    def compute(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            return net(*(torch.from_numpy(value) for value in inputs.values())).float().numpy()

    return compute


def measure(
    computes: Mapping[str, Compute],
    files: Mapping[str, Path],
    faces: Faces,
    score: Callable[[np.ndarray], dict[str, float]],
) -> list[Measured]:
    """Measurements of all formats of one network.

    Args:
        computes: Formats by name; the first one is the reference of the others.
        files: Paths of the formats that are files.
        faces: Faces of the comparison; the first one is timed, in rounds that time every format once.
        score: Function from logits to `Measured.scores`.
    """
    logits = {}
    for form, compute in computes.items():
        batches = faces.batches()
        total = -(-len(faces) // _BATCH)
        shown = track(batches, f"Computing {form}", total)
        logits[form] = np.concatenate([compute(inputs) for inputs in shown])
    reference = next(iter(logits.values()))
    times = _milliseconds(computes, faces)
    return [
        Measured(
            form=form,
            megabytes=files[form].stat().st_size / 1e6 if form in files else None,
            difference=float(np.abs(values - reference).max()),
            agreement=float((values.argmax(axis=1) == reference.argmax(axis=1)).mean()),
            scores=score(values),
            milliseconds=times[form],
        )
        for form, values in logits.items()
    ]


def _milliseconds(computes: Mapping[str, Compute], faces: Faces) -> dict[str, float]:
    one = {name: value[:1] for name, value in next(faces.batches()).items()}
    calls = {form: partial(compute, one) for form, compute in computes.items()}
    times = thread_milliseconds(calls, track(range(ROUNDS), "Timing"))
    return {form: float(times[form].median()) for form in computes}


def require_parity(form: str, difference: float, tolerance: float, faces: Faces) -> None:
    """Raises `UserError` where the logits of a file differ from PyTorch by more than the tolerance, or are NaN."""
    if not difference <= tolerance:
        raise UserError(
            f"{form} differs from PyTorch by {difference:.2g} in a logit on {faces.description}, more than "
            f"tolerance={tolerance:g}: no file was written."
        )


@dataclass(frozen=True)
class Faces:
    """Faces in the preprocessing of a network.

    Attributes:
        dataset: Data set of the faces.
        rows: Rows of the faces in the data set `(N,)`.
        description: Description of the faces.
    """

    dataset: ExpressionDataset
    rows: np.ndarray
    description: str

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields the float32 inputs of the network: `image`, and `side` where it has an auxiliary input."""
        for start in range(0, len(self.rows), _BATCH):
            image, *side, _ = self.dataset.__getitems__(self.rows[start : start + _BATCH].tolist())
            inputs = {"image": image.contiguous().numpy()}
            if side:
                inputs["side"] = side[0].numpy()
            yield inputs


def real_faces(datamodule: ExpressionDataModule, split: str, most: int | None, seed: int) -> Faces:
    """Random faces of a split.

    Args:
        datamodule: Data module after `setup`.
        split: `"train"`, `"val"` or `"test"`; training images are not augmented.
        most: Maximum number of faces; None for all.
        seed: Seed of the draw.
    """
    dataset = datamodule.dataset(split)
    rows = np.arange(len(dataset))
    if most is not None and most < len(dataset):
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return Faces(dataset, rows, f"{len(rows):,} faces of {datamodule.dataset_name}, {split}")


def synthetic_faces(preprocessing: Mapping[str, Any]) -> Faces:
    """Synthetic faces, for networks whose data set is not available; none has landmarks."""
    rows = np.arange(_SYNTHETIC)
    images = LazyImages(
        SyntheticFaces(0, SEVEN.classes, _DIFFICULTY, rows), preprocessing["image_size"], preprocessing["channels"]
    )
    kind = preprocessing["side"]
    side = None if kind == "none" else SideVectors(kind, np.zeros((_SYNTHETIC, SIDE_SIZES[kind]), np.float32))
    targets = np.zeros(_SYNTHETIC, np.int64)
    dataset = ExpressionDataset(images, rows, targets, None, preprocessing["mean"], preprocessing["std"], side)
    return Faces(dataset, rows, f"{_SYNTHETIC} synthetic faces")


def self_test(compute: Compute, preprocessing: Mapping[str, Any], temperature: float) -> dict[str, Any] | None:
    """Synthetic face and a network's probabilities for it, which files of `fer export` contain.

    Returns:
        `picture`, a PNG of the network's size in base64, and `probabilities`, one per class; None for a network with
        an auxiliary input.
    """
    if preprocessing["side"] != "none":
        return None
    faces = synthetic_faces(preprocessing).dataset
    (pixels,) = faces.pixels([0])
    image, _ = faces.__getitems__([0])
    (probabilities,) = softmax(compute({"image": image.contiguous().numpy()}) / temperature, axis=1)
    png = BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(png, "PNG", optimize=True)
    return {
        "picture": base64.b64encode(png.getvalue()).decode(),
        "probabilities": [round(float(value), 6) for value in probabilities],
    }


def scores_of(
    logits: np.ndarray, temperature: float, faces: Faces, classes: Sequence[str], data_classes: Sequence[str]
) -> dict[str, float]:
    """Scores of logits `(N, K)` on N faces of a data set; classes of network and data are matched by name.

    Raises:
        UserError: Network and data share fewer than two classes.
    """
    targets = faces.dataset.targets.numpy()[faces.rows]
    targets = targets if targets.ndim == 1 else targets.argmax(axis=1)
    table = pd.DataFrame({"id": faces.rows.astype(str), "split": "", "target": targets})
    columns = [PROBABILITY_PREFIX + name for name in classes]
    table = pd.concat([table, pd.DataFrame(softmax(logits / temperature, axis=1), columns=columns)], axis=1)
    shared = share_classes(table, classes, data_classes)
    scores = score(shared.table, shared.classes)
    return {name: scores[name] for name in _SCORES}  # type: ignore[misc]


def export_table(rows: Sequence[Measured], faces: str) -> Table:
    """Terminal table with one row per format; `faces` describes the faces."""
    headings = ["form", "MB", "accuracy", "95% interval", "same label", "max |Δ logit|", "ms"]
    return text_table(f"On {faces}; time: one face, one thread", pd.DataFrame(measured_cells(rows), columns=headings))


def measured_cells(rows: Sequence[Measured]) -> list[list[str]]:
    """Format, size, accuracy, its interval, agreement, difference and time of each row as text."""
    return [
        [
            row.form,
            NOTHING if row.megabytes is None else f"{row.megabytes:.1f}",
            percent(row.scores["accuracy"]) if row.scores else NOTHING,
            f"{100 * row.scores['accuracy_low']:.1f}–{percent(row.scores['accuracy_high'])}" if row.scores else NOTHING,
            percent(row.agreement),
            f"{row.difference:.2g}",
            f"{row.milliseconds:.2f}",
        ]
        for row in rows
    ]


def ratio_line(rows: Sequence[Measured]) -> str | None:
    """Sentence with the time and accuracy of int8 relative to float32; None without int8."""
    by_form = {row.form: row for row in rows}
    if "ONNX, int8" not in by_form:
        return None
    whole, integer = by_form["ONNX, float32"], by_form["ONNX, int8"]
    sentence = f"int8 takes {integer.milliseconds / whole.milliseconds:.2f} of the time of float32 ONNX"
    if whole.scores:
        lost = 100 * (whole.scores["accuracy"] - integer.scores["accuracy"])
        sentence += f" and changes accuracy by {-lost:+.1f} points"
    return sentence + "."
