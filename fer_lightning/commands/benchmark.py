"""`fer benchmark`: how long it takes from frame to label, beside other packages; or for a network alone on a GPU."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.progress import track

from fer_lightning.benchmark_gpu import benchmark_gpu
from fer_lightning.benchmark_record import write_benchmark
from fer_lightning.benchmark.pipeline import Contest, hold_contest
from fer_lightning.deploy.benchmark.contest_table import contest_table
from fer_lightning.deploy.benchmark.frames import HEIGHT, WIDTH, astronaut_frames, read_frames, write_frames
from fer_lightning.deploy.benchmark.ours import costs, own_commands
from fer_lightning.deploy.benchmark.peers import PEERS
from fer_lightning.errors import UserError
from fer_lightning.benchmark.output import draw_pipeline_benchmark
from fer_lightning.report.pipeline_table import parts_table, whole_table
from fer_lightning.report.terminal import print_line
from fer_lightning.results.record import describe_hardware

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
