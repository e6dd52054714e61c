"""How long a network takes for one picture on a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter

import pandas as pd
import torch
from torch import Tensor, nn

WARM_UP = 20  # passes: the first ones choose algorithms and claim memory
PRECISIONS = {"float32": None, "float16": torch.float16}  # None: no autocast


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
