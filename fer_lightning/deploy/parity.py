"""What exporting did to a network: difference of logits, accuracy, agreement and time, on the same faces in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from rich.progress import track
from torch import nn

from fer_lightning.deploy.faces import Compute, Faces
from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import thread_milliseconds

ROUNDS = 50  # of timing


@dataclass(frozen=True)
class Measured:
    """One form of the network.

    Attributes:
        form: For example `"PyTorch, float32"`.
        megabytes: Size of its file in 10^6 bytes; None for the network in memory.
        difference: Largest absolute difference of a logit from PyTorch in float32.
        agreement: Share of faces, in 0..1, with the same label as PyTorch in float32.
        scores: Those of `scores_of`; empty where there are no labels.
        milliseconds: Median processor time of one face with one thread.
    """

    form: str
    megabytes: float | None
    difference: float
    agreement: float
    scores: dict[str, float]
    milliseconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return asdict(self)


def torch_compute(net: nn.Module) -> Compute:
    """Logits of a network in PyTorch."""

    def compute(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            return net(*(torch.from_numpy(value) for value in inputs.values())).float().numpy()

    return compute


def session_compute(session: onnxruntime.InferenceSession) -> Compute:
    """Logits of an ONNX file."""
    return lambda inputs: session.run(["logits"], dict(inputs))[0]


def logits_of(compute: Compute, faces: Faces, told: str) -> np.ndarray:
    """Logits `(N, K)` of all faces.

    Args:
        compute: One form of the network.
        faces: The faces.
        told: What the progress bar says.
    """
    batches = track(faces.batches(), total=faces.count_batches(), description=told, transient=True)
    return np.concatenate([compute(inputs) for inputs in batches])


def measure(
    computes: Mapping[str, Compute],
    files: Mapping[str, Path],
    faces: Faces,
    score: Callable[[np.ndarray], dict[str, float]],
) -> list[Measured]:
    """Measures all forms of one network.

    Args:
        computes: The forms by name; the first one is the network that the others are held against.
        files: Where they lie, for those that are files.
        faces: On which they are compared; the first one is timed, in rounds that time every form once.
        score: From logits to `Measured.scores`.
    """
    logits = {form: logits_of(compute, faces, f"Computing {form}") for form, compute in computes.items()}
    reference = next(iter(logits.values()))
    times = _milliseconds(computes, faces)
    return [
        Measured(
            form=form,
            megabytes=files[form].stat().st_size / 1e6 if form in files else None,
            difference=float(np.abs(own - reference).max()),
            agreement=float((own.argmax(axis=1) == reference.argmax(axis=1)).mean()),
            scores=score(own),
            milliseconds=times[form],
        )
        for form, own in logits.items()
    ]


def _milliseconds(computes: Mapping[str, Compute], faces: Faces) -> dict[str, float]:
    one = {name: value[:1] for name, value in next(faces.batches()).items()}
    calls = {form: partial(compute, one) for form, compute in computes.items()}
    times = thread_milliseconds(calls, track(range(ROUNDS), description="Timing", transient=True))
    return {form: float(times[form].median()) for form in computes}


def require_parity(form: str, difference: float, tolerance: float, faces: Faces) -> None:
    """Refuses a file that computes something else than the network that it was made from.

    Raises:
        UserError: The logits differ by more than the tolerance, or are no numbers.
    """
    if not difference <= tolerance:
        raise UserError(
            f"{form} differs from PyTorch by {difference:.2g} in a logit on {faces.told}, more than "
            f"tolerance={tolerance:g}: no file was written."
        )
