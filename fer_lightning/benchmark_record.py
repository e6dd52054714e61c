"""What `fer benchmark` leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console

from fer_lightning.report.figures import save_figures
from fer_lightning.report.terminal import print_line
from fer_lightning.files import write_whole
from fer_lightning.results.record import describe_commit, describe_hardware, describe_software


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
