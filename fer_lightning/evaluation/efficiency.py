"""Cost of a network: parameters, multiply-adds and latency, and the hardware that it was measured on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

WARM_UP = 2


def parameters(net: nn.Module) -> int:
    """Number of parameters, trainable or frozen; buffers, such as batch-normalisation statistics, are not counted."""
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Multiply-adds of one forward pass.

    Convolutions, linear maps, matrix products and attention are counted, each multiply-add once. Element-wise
    operations, normalisation, pooling, interpolation and FFT are not, as is usual.

    Args:
        net: The network; it is put into evaluation mode.
        inputs: Arguments of its `forward`, each `(1, ...)`.
    """
    # The counter supports neither the fused attention of the CPU nor the fused encoder layer of inference without
    # gradients; without fusion, both consist of matrix products, which it counts.
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(*inputs)
    return counter.get_total_flops() // 2


def latency(
    nets: Mapping[str, nn.Module], inputs: Mapping[str, Sequence[Tensor]], rounds: Iterable[object]
) -> pd.DataFrame:
    """Milliseconds of one forward pass on the CPU with one thread.

    This is the processor time of the thread, which excludes waiting on a busy machine. Every round times every network
    once, so that disturbances affect all networks alike. Each timed pass follows an untimed one of the same network, as
    in a stream of images.

    Args:
        nets: Networks by name; they are put into evaluation mode.
        inputs: Arguments of the `forward` of each network, each `(1, ...)`.
        rounds: Iterable with one element a round: a range, or a progress bar over one.

    Returns:
        One row a round, one column a network.
    """
    calls = {name: partial(net.eval(), *inputs[name]) for name, net in nets.items()}
    with torch.inference_mode():
        return thread_milliseconds(calls, rounds)


def thread_milliseconds(calls: Mapping[str, Callable[[], object]], rounds: Iterable[object]) -> pd.DataFrame:
    """Milliseconds of function calls, measured as in `latency`.

    Args:
        calls: Functions by name; each must compute in the calling thread when PyTorch uses one thread.
        rounds: Iterable with one element a round.

    Returns:
        One row a round, one column a call.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for call in calls.values():
            for _ in range(WARM_UP):
                call()
        return pd.DataFrame([{name: _milliseconds(call) for name, call in calls.items()} for _ in rounds])
    finally:
        torch.set_num_threads(threads)


def _milliseconds(call: Callable[[], object]) -> float:
    call()
    started = thread_time()
    call()
    return 1000 * (thread_time() - started)


def describe_hardware(device: torch.device, precision: str) -> dict[str, Any]:
    """Processor, threads and accelerator of a run."""
    hardware: Mapping[str, Any] = {
        "device": device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "platform": platform.platform(),
    }
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {**hardware, **gpu}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> dict[str, float]:
    """`memory_gb`: peak memory of the GPU so far, else of the process; empty where the system does not report it."""
    if device.type == "cuda":
        return {"memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    if sys.platform == "win32":
        return {}
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory_gb": peak / (1e9 if sys.platform == "darwin" else 1e6)}
