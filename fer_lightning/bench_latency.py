"""Second part of `fer bench`: what the attention parts of HAFEM add to the latency of its backbone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fer_lightning.composed_nets import compose_net
from fer_lightning.evaluation.efficiency import latency
from fer_lightning.report.terminal import escape
from fer_lightning.files import write_whole

NUM_CLASSES = 7


def bench_latency(cfg: DictConfig) -> None:
    """Times each net whole and without its attention, interleaved; prints the medians and writes `latency.csv`.

    Args:
        cfg: Composed from `conf/bench.yaml`.
    """
    nets, inputs = {}, {}
    for name, options in cfg.latency.nets.items():
        for title, overrides in ((name, options), (_bare(name), [*options, *cfg.latency.bare])):
            nets[title], inputs[title] = compose_net("bench", overrides, NUM_CLASSES)
    times = latency(nets, inputs, track(range(cfg.latency.rounds), description="Timing", transient=True))
    write = Path(cfg.output_dir) / "latency.csv"
    write_whole(write, lambda path: times.to_csv(path, index_label="round", float_format="%.3f"))
    Console().print(_table(times, list(cfg.latency.nets)))


def _bare(name: str) -> str:
    return f"{name} without attention"


def _table(times: pd.DataFrame, names: list[str]) -> Table:
    table = Table("net", "ms", title=f"One picture, median of {len(times)} rounds, 1 thread, float32")
    for column in times:
        table.add_row(escape(column), f"{times[column].median():.1f}")
    table.add_section()
    for name in names:
        ratio = (times[name] / times[_bare(name)]).median()
        table.add_row(escape(f"{name} : without attention"), f"{ratio:.3f} x")
    return table
