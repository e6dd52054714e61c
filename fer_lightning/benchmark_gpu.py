"""Second part of `fer benchmark`: a network alone on a GPU, beside the speed that HAFEM claims."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from fer_lightning.benchmark_record import write_benchmark
from fer_lightning.cli import claims_dir
from fer_lightning.composed_nets import compose_net
from fer_lightning.data.auxiliary import SIDE_SIZES
from fer_lightning.deploy.benchmark.net_timing import peak_memory, time_net
from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import multiply_adds, parameters
from fer_lightning.benchmark.latency import summarise_times
from fer_lightning.report.published import read_published
from fer_lightning.report.terminal import escape
from fer_lightning.training.checkpoints import load_net
from fer_lightning.results.record import describe_hardware


def benchmark_gpu(cfg: DictConfig) -> None:
    """Times one picture at a time on a GPU, prints, and writes `benchmark.csv` and `benchmark.json`.

    Args:
        cfg: Composed from `conf/benchmark.yaml`.
    """
    device = find_gpu()
    net, inputs = net_and_input(cfg)
    costs = {"parameters": parameters(net), "multiply_adds": multiply_adds(net, inputs)}
    passes = track(range(cfg.rounds * cfg.count), description="Timing", transient=True)
    times = time_net(net, inputs, device, passes)
    table = summarise_times(times, ["precision"]).assign(peak_memory_mb=peak_memory(device))
    console = Console()
    hardware = describe_hardware(device, "float32")
    title = f"{type(net).__name__}, one picture at a time, {hardware.get('gpu', hardware['processor'])}"
    console.print(speed_table(table, title))
    size = " x ".join(map(str, inputs[0].shape[1:]))
    console.print(
        f"The network: {costs['parameters'] / 1e6:.2f} M parameters, {costs['multiply_adds'] / 1e6:,.0f} M "
        f"multiply-adds for a picture of {size}.",
        markup=False,
    )
    facts = {"model": type(net).__name__, "net": costs, "input": list(inputs[0].shape)}
    write_benchmark(cfg, table, facts, device, {})


def find_gpu() -> torch.device:
    """The GPU that PyTorch takes.

    Raises:
        UserError: There is none.
    """
    if not torch.cuda.is_available():
        raise UserError(
            "device=cuda: PyTorch finds no GPU here; leave device away to time the way from frame to label on the CPU."
        )
    return torch.device("cuda")


def net_and_input(cfg: DictConfig) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network to time, trained or only an architecture, and one picture for it.

    Args:
        cfg: Composed from `conf/benchmark.yaml`.

    Raises:
        UserError: There is no such network.
    """
    if "model" in cfg:
        return compose_net("benchmark", HydraConfig.get().overrides.task, cfg.num_classes)
    trained = load_net(Path(cfg.checkpoint))
    size, channels, side = (trained.description["preprocessing"][name] for name in ("image_size", "channels", "side"))
    image = torch.randn(1, channels, size, size)
    return trained.net, (image,) if side == "none" else (image, torch.zeros(1, SIDE_SIZES[side]))


def speed_table(table: pd.DataFrame, title: str) -> Table:
    """Measured speed, with what HAFEM's abstract claims below.

    Args:
        table: `precision`, `median_ms`, `p95_ms`, `fps` and `peak_memory_mb`.
        title: Of the table.
    """
    drawn = Table("precision", title=escape(title))
    for heading in ("ms", "p95", "frames/s", "MB"):
        drawn.add_column(heading, justify="right")
    for _, row in table.iterrows():
        memory = "-" if pd.isna(row["peak_memory_mb"]) else f"{row['peak_memory_mb']:.0f}"
        drawn.add_row(row["precision"], f"{row['median_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['fps']:.0f}", memory)
    claims = read_published(claims_dir() / "hafem" / "published.csv")
    claim = claims[(claims["row"] == "HAFEM") & (claims["metric"] == "speed")].iloc[0]
    drawn.add_section()
    drawn.add_row("HAFEM's claim", "", "", f"{claim['value']:.0f}", "")
    drawn.caption = f"HAFEM's abstract: {claim['note']}"
    return drawn
