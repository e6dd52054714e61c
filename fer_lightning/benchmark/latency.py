"""Times of a network for one picture on a GPU, and summaries of repeated measurements with their uncertainty."""

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

FEWEST_ROUNDS = 6  # with fewer not even their extremes enclose the median in 95 of 100 cases
WARM_UP = 20  # passes: the first ones choose algorithms and claim memory
PRECISIONS = {"float32": None, "float16": torch.float16}  # None: no autocast


@dataclass(frozen=True)
class Ratio:
    """How many times longer one thing takes than another.

    Attributes:
        median: Of the rounds.
        low: Lower end of its 95 % interval; NaN for fewer than `FEWEST_ROUNDS` rounds.
        high: Upper end.
    """

    median: float
    low: float
    high: float


def summarise_times(times: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Medians and 95th percentiles.

    Args:
        times: One row a measurement: `milliseconds`, and what was measured.
        by: Columns that say what was measured.

    Returns:
        One row for each, in the order of their first measurement: `by`, `median_ms`, `p95_ms`, `fps` (frames per
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
    """Compares two things that were timed in the same rounds, so that what disturbs a round disturbs both.

    Args:
        times: Milliseconds of one, indexed by round, several a round.
        reference: Milliseconds of the other, in the same rounds.

    Returns:
        The median over rounds of the ratio of the two medians of a round, with the interval that order statistics give
        without assuming a distribution.

    Source: Conover, "Practical nonparametric statistics", 3rd edition, 1999, section 3.2.
    """
    ratios = (times.groupby(level=0).median() / reference.groupby(level=0).median()).to_numpy(np.float64)
    if len(ratios) < FEWEST_ROUNDS:
        return Ratio(float(np.median(ratios)), float("nan"), float("nan"))
    interval = quantile_test(ratios, q=float(np.median(ratios)), p=0.5).confidence_interval(0.95)
    return Ratio(float(np.median(ratios)), float(interval.low), float(interval.high))


def find_gpu() -> torch.device:
    """The GPU that PyTorch takes.

    Raises:
        UserError: There is none.
    """
    if not torch.cuda.is_available():
        raise UserError(
            "device=cuda needs a GPU, and PyTorch finds none here: omit device to time the way from frame to label on "
            "the CPU."
        )
    return torch.device("cuda")


def time_net(net: nn.Module, inputs: Sequence[Tensor], device: torch.device, rounds: Iterable[object]) -> pd.DataFrame:
    """Times forward passes of one picture that lies on the device, from idle device to idle device.

    Every round times one pass in each precision.

    Args:
        net: Moved to the device and put into evaluation mode.
        inputs: Arguments of its `forward`, each `(1, ...)`.
        device: Where to compute.
        rounds: Yields once a round: a range, or a progress bar over one.

    Returns:
        One row a pass: `precision` and `milliseconds`.
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
    """Most memory that tensors held on a GPU so far, in MB (10^6 bytes); None on other devices."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None


def _milliseconds(net: nn.Module, inputs: Sequence[Tensor], device: torch.device, precision: str) -> float:
    dtype = PRECISIONS[precision]
    _wait_for(device)
    started = perf_counter()
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        net(*inputs)
    _wait_for(device)
    return 1000 * (perf_counter() - started)


def _wait_for(device: torch.device) -> None:
    """A GPU works on while Python runs ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
