"""Latency of a network on a GPU, and summaries of repeated measurements with their uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from scipy.stats import quantile_test
from torch import Tensor, nn

from fer_lightning.errors import UserError

FEWEST_ROUNDS = 6  # below, even the extremes of the rounds enclose the median in fewer than 95 of 100 cases
WARM_UP = 20  # untimed passes, since the first ones choose algorithms and allocate memory
PRECISIONS = {"float32": None, "float16": torch.float16}  # None: no autocast


@dataclass(frozen=True)
class Ratio:
    """Ratio of two times.

    Attributes:
        median: Median over the rounds.
        low: Lower end of its 95 % interval; NaN for fewer than `FEWEST_ROUNDS` rounds.
        high: Upper end of the interval.
    """

    median: float
    low: float
    high: float


def summarise_times(times: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Medians and 95th percentiles of groups of measurements.

    Args:
        times: One row per measurement, with the column `milliseconds`.
        by: Columns that define the groups.

    Returns:
        One row per group, in the order of their first measurements: `by`, `median_ms`, `p95_ms`, `fps` (frames per
        second at the median time) and `n`.
    """
    groups = times.groupby(by, sort=False)["milliseconds"]
    table = groups.agg(
        median_ms="median",
        p95_ms=lambda values: values.quantile(0.95),
        fps=lambda values: 1000 / values.median(),
        n="size",
    )
    return table.reset_index()


def ratio_of_rounds(times: pd.Series, reference: pd.Series) -> Ratio:
    """Ratio of two times that were measured in the same rounds, so that a disturbance of a round affects both.

    Args:
        times: Milliseconds, indexed by round, several per round.
        reference: Milliseconds of the reference in the same rounds.

    Returns:
        The median over rounds of the ratio of the two medians of a round, with the distribution-free interval of order
        statistics.

    Source: Conover, "Practical nonparametric statistics", 3rd edition, 1999, section 3.2.
    """
    ratios = (times.groupby(level=0).median() / reference.groupby(level=0).median()).to_numpy(np.float64)
    if len(ratios) < FEWEST_ROUNDS:
        return Ratio(float(np.median(ratios)), float("nan"), float("nan"))
    interval = quantile_test(ratios, q=float(np.median(ratios)), p=0.5).confidence_interval(0.95)
    return Ratio(float(np.median(ratios)), float(interval.low), float(interval.high))


def find_gpu() -> torch.device:
    """The GPU that PyTorch uses.

    Raises:
        UserError: PyTorch finds no GPU.
    """
    if not torch.cuda.is_available():
        raise UserError(
            "device=cuda needs a GPU, and PyTorch finds none here: omit device to time predictions from frame to label "
            "on the CPU."
        )
    return torch.device("cuda")


def time_net(net: nn.Module, inputs: Sequence[Tensor], device: torch.device, rounds: Iterable[object]) -> pd.DataFrame:
    """Times of forward passes of images that are already on the device, without overlap between passes.

    Every round times one pass in each precision.

    Args:
        net: Network, which is moved to the device and put into evaluation mode.
        inputs: Arguments of its `forward`, each `(B, ...)`.
        device: Device that computes.
        rounds: Iterable with one item per round, such as a range or a progress bar.

    Returns:
        One row per pass: `precision` and `milliseconds`.
    """
    net = net.to(device).eval()
    moved = [value.to(device) for value in inputs]
    with torch.inference_mode():
        for precision in PRECISIONS:
            for _ in range(WARM_UP):
                _milliseconds(net, moved, device, precision)
        rows = [(precision, _milliseconds(net, moved, device, precision)) for _ in rounds for precision in PRECISIONS]
    return pd.DataFrame(rows, columns=["precision", "milliseconds"])


def peak_memory(device: torch.device) -> float | None:
    """Peak memory of the tensors on a GPU, in MB (10^6 bytes); None on other devices."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None


def _milliseconds(net: nn.Module, inputs: Sequence[Tensor], device: torch.device, precision: str) -> float:
    dtype = PRECISIONS[precision]
    _synchronize(device)
    started = perf_counter()
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        net(*inputs)
    _synchronize(device)
    return 1000 * (perf_counter() - started)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
