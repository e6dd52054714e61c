"""`fer models`: table of parameters, multiply-adds and latency of all networks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn

from fer_lightning.commands.instantiate import compose_net
from fer_lightning.data.store import track
from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import describe_hardware, latency, multiply_adds, parameters
from fer_lightning.files import write_csv, write_text
from fer_lightning.plots.text import print_line, table_markdown, text_table

# K. He et al., Deep residual learning for image recognition (2016)
CITATION = re.compile(r"(?:[A-Z]\.[ -]?)+([A-Z][\w'-]+)( et al\.)?.*?[ (]((?:19|20)\d\d)\b")


def run(cfg: DictConfig) -> None:
    """Prints the table and writes `models.csv` and `models.md`."""
    nets, inputs, left_out = _build_all(cfg)
    rows = {}
    for name in track(nets, "Counting"):
        net = nets[name]
        rows[name] = {
            "parameters": parameters(net),
            "multiply_adds": multiply_adds(net, inputs[name]),
            "source": source(net),
        }
    times = latency(nets, inputs, track(range(cfg.rounds), "Timing"))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    table.insert(2, "median_ms", times.median())
    table.insert(3, "p95_ms", times.quantile(0.95))
    table = table.sort_values("multiply_adds")
    title = _title(cfg)
    folder = Path(cfg.output_dir)
    write_csv(folder / "models.csv", table, float_format="%.3f")
    notes = [f"Left out: {name}, {reason}" for name, reason in left_out.items()]
    markdown = [title, table_markdown(_cells(table), words=["source"]), *notes]
    write_text(folder / "models.md", "\n\n".join(markdown) + "\n")
    console = Console()
    console.print(text_table(title, _cells(table), words=["source"]))
    for note in notes:
        print_line(console, note)
    print_line(console, f"Table: {folder}/models.csv, {folder}/models.md")


def _build_all(cfg: DictConfig) -> tuple[dict[str, nn.Module], dict[str, tuple[Tensor, ...]], dict[str, str]]:
    """Networks, their inputs, and the reasons why others are left out, by name."""
    if isinstance(cfg.models, str):
        raise UserError(f"models must be a list; got {cfg.models}: use models=[{cfg.models}].")
    names = cfg.models or GlobalHydra.instance().config_loader().get_group_options("model")
    options = [f"{name}={cfg[name]}" for name in ("image_size", "channels", "seed", "channels_last")]
    nets, inputs, left_out = {}, {}, {}
    for name in track(names, "Building"):
        try:
            nets[name], inputs[name] = compose_net("show_models", [f"+model={name}", *options], cfg.num_classes)
        except UserError as error:
            left_out[name] = str(error)
    if not nets:
        raise UserError(f"models={names} must name a network that can be built; {'; '.join(left_out.values())}")
    return nets, inputs, left_out


def source(net: nn.Module) -> str:
    """Source of a network: authors and years of the papers in the docstring of its module.

    A paper without year or authors is given by its title, without URL; `"-"` if the docstring names none.
    """
    docstring = sys.modules[type(net).__module__].__doc__ or ""
    for paragraph in docstring.split("\n\n"):
        if match := re.match(r"(?:Papers?|Source|Library): (.+)", " ".join(paragraph.split())):
            papers = [f"{author}{others} {year}" for author, others, year in CITATION.findall(match[1])]
            return ", ".join(papers) or re.split(r", https?:|; |\.$", match[1])[0]
    return "-"


def _title(cfg: DictConfig) -> str:
    processor = describe_hardware(torch.device("cpu"), "32-true")["processor"]
    picture = f"{cfg.image_size} x {cfg.image_size} pixels, {cfg.channels} channel(s), {cfg.num_classes} classes"
    return f"{picture}; ms of one picture in float32, one thread of {processor}, median and p95 of {cfg.rounds} rounds"


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text."""
    return pd.DataFrame(
        {
            "model": table.index,
            "weights": [f"{count / 1e6:.2f} M" for count in table["parameters"]],
            "mult-adds": [f"{count / 1e6:,.0f} M" for count in table["multiply_adds"]],
            "ms": [f"{time:.2f}" for time in table["median_ms"]],
            "p95 ms": [f"{time:.2f}" for time in table["p95_ms"]],
            "source": list(table["source"]),
        }
    )
