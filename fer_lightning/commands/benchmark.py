"""`fer benchmark`: how long it takes from frame to label, beside other packages; or for a network alone on a GPU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from fer_lightning.benchmark.latency import peak_memory, summarise_times, time_net
from fer_lightning.benchmark.output import draw_pipeline_benchmark, parts_table, whole_table
from fer_lightning.benchmark.peers import PEERS
from fer_lightning.benchmark.pipeline import (
    HEIGHT,
    WIDTH,
    Contest,
    astronaut_frames,
    contest_table,
    costs,
    hold_contest,
    own_commands,
    read_frames,
    write_frames,
)
from fer_lightning.commands.instantiate import compose_net
from fer_lightning.data.auxiliary import SIDE_SIZES
from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import describe_hardware, multiply_adds, parameters
from fer_lightning.files import claims_dir, write_whole
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import escape, print_line
from fer_lightning.results.record import describe_commit, describe_software
from fer_lightning.studies.ledger import read_published
from fer_lightning.training.checkpoints import load_net

DEVICES = ("cpu", "cuda")


def run(cfg: DictConfig) -> None:
    """Measures, prints, and writes `benchmark.csv`, `benchmark.json` and, on the CPU, `benchmark.png`.

    Args:
        cfg: Composed from `conf/benchmark.yaml`.
    """
    if cfg.device not in DEVICES:
        raise UserError(f"device={cfg.device} is unknown: use one of {', '.join(DEVICES)}.")
    for option in ("rounds", "count"):
        if cfg[option] < 1:
            raise UserError(f"{option}={cfg[option]} is too small: use 1 or more.")
    if cfg.device == "cuda":
        benchmark_gpu(cfg)
    else:
        benchmark_pipeline(cfg)


def benchmark_pipeline(cfg: DictConfig) -> None:
    """Times everyone from frame to label on the CPU.

    Args:
        cfg: Composed from `conf/benchmark.yaml`.
    """
    if "model" in cfg:
        raise UserError("model=... is an architecture without weights: add device=cuda, or time it with fer models.")
    console = Console()
    _check_lists(cfg)
    frames = read_frames(Path(cfg.frames), cfg.count) if cfg.frames else astronaut_frames(cfg.count)
    peers, left_out = _peer_commands(cfg)
    tables = []
    with tempfile.TemporaryDirectory() as place:
        with console.status("Preparing the network"):
            net = costs(cfg.checkpoint)
            ours = own_commands(cfg.checkpoint, list(cfg.backends), cfg.int8, Path(place))
        files = write_frames(frames, Path(place))
        for threads in cfg.threads:
            contest = hold_contest({**ours, **peers}, files, threads, cfg.rounds, partial(track, transient=True))
            _check_ours(cfg, contest, list(ours))
            left_out |= contest.left_out
            tables.append(contest_table(contest, reference=next(iter(ours))).assign(threads=threads))
            console.print(whole_table(tables[-1], _title(len(frames), cfg.rounds, threads)))
            console.print(parts_table(tables[-1]))
    for line in [_told(net), *(f"Left out: {who}: {reason}" for who, reason in left_out.items())]:
        print_line(console, line)
    figures = {
        "benchmark" if table is tables[0] else f"benchmark_{threads}_threads": draw_pipeline_benchmark(
            table, _title(len(frames), cfg.rounds, threads)
        )
        for threads, table in zip(cfg.threads, tables)
    }
    shown = Path(cfg.frames).name if cfg.frames else "astronaut"
    facts = {"checkpoint": Path(cfg.checkpoint).name, "net": net, "frames": shown, "left_out": left_out}
    write_benchmark(cfg, pd.concat(tables, ignore_index=True), facts, torch.device("cpu"), figures)


def _check_lists(cfg: DictConfig) -> None:
    for option in ("backends", "threads", "peers"):
        if not isinstance(cfg[option], ListConfig):
            raise UserError(f"{option}={cfg[option]} is no list: use {option}=[{cfg[option]}].")
    cores = os.cpu_count() or 1
    for threads in cfg.threads:
        if threads not in range(1, cores + 1):
            raise UserError(f"threads has {threads}, which is out of range: this machine has {cores} cores.")
    if not cfg.threads or not cfg.backends:
        raise UserError("threads and backends need one entry at least: threads=[1] backends=[torch].")
    for name in cfg.peers:
        if name not in PEERS:
            raise UserError(f"peers has {name}, which is unknown: use any of {', '.join(PEERS)}.")


def _peer_commands(cfg: DictConfig) -> tuple[dict[str, list[str]], dict[str, str]]:
    """How to start the packages that are asked for, and why others of them cannot be."""
    python, modules = (Path(cfg[option]) if cfg[option] else None for option in ("peer_python", "peer_node_modules"))
    commands, left_out = {}, {}
    for name in cfg.peers:
        command = PEERS[name].command(python, modules)
        if command:
            commands[name] = command
        else:
            left_out[name] = f"install it with {PEERS[name].install}"
    return commands, left_out


def _check_ours(cfg: DictConfig, contest: Contest, ours: list[str]) -> None:
    for who in ours:
        if who in contest.left_out:
            raise UserError(f"{who} cannot be timed: {contest.left_out[who]}")
        labels = contest.facts[who]["labels"]
        if None in labels:
            raise UserError(
                f"frames={cfg.frames}: {labels.count(None)} of {len(labels)} show no face, so that there is no label: "
                "give a photo or a video with one face that is well visible."
            )


def _title(frames: int, rounds: int, threads: int) -> str:
    processor = describe_hardware(torch.device("cpu"), "float32")["processor"]
    return f"{WIDTH} x {HEIGHT}, {frames} frame(s) in {rounds} rounds, {threads} thread(s) of {processor}"


def _told(net: dict[str, int] | None) -> str:
    if net is None:
        return "Parameters and FLOPs are told for networks that PyTorch computes."
    return (
        f"The network: {net['parameters'] / 1e6:.2f} M parameters, {net['flops'] / 1e6:,.0f} MFLOPs (two for each of "
        f"{net['multiply_adds'] / 1e6:,.0f} M multiply-adds) a face."
    )


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


def write_benchmark(
    cfg: DictConfig,
    table: pd.DataFrame,
    facts: Mapping[str, Any],
    device: torch.device,
    figures: Mapping[str, Figure],
) -> None:
    """Writes `benchmark.csv`, `benchmark.json` and pictures, and prints where they are.

    Args:
        cfg: Composed from `conf/benchmark.yaml`.
        table: The result, one row a measured thing.
        facts: Plain values that the record tells besides; none of them a folder of this machine.
        device: Where was measured.
        figures: Pictures by file name without ending.
    """
    folder = Path(cfg.output_dir)
    hardware = describe_hardware(device, "float32")
    del hardware["threads"]  # of this process, which times nothing on the CPU; the table has those of each contestant
    write_whole(folder / "benchmark.csv", partial(table.to_csv, index=False, float_format="%.4g"))
    record = {
        **facts,
        "rounds": cfg.rounds,
        "count": cfg.count,
        "versions": describe_software(),
        "commit": describe_commit(),
        "hardware": hardware,
        "results": json.loads(table.to_json(orient="records")),  # NaN becomes null
    }
    write_whole(folder / "benchmark.json", lambda path: path.write_text(json.dumps(record, indent=2) + "\n"))
    pictures = save_figures(folder, figures)
    written = [folder / "benchmark.csv", folder / "benchmark.json", *pictures]
    print_line(Console(), f"Written: {', '.join(map(str, written))}")
