"""`fer data`: protocol, class counts and example images of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lightning.commands.instantiate import build_datamodule
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.samples import SPLITS
from fer_lightning.plots.contact_sheet import draw_contact_sheet
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import escape, print_line


def run(cfg: DictConfig) -> None:
    """Prints the summary of a data set and draws its images."""
    datamodule = build_datamodule(cfg)
    console = Console()
    console.print(_protocol_table(datamodule))
    console.print(_count_table(datamodule))
    folder = Path(cfg.output_dir)
    sheets = {
        "images": _sheet(datamodule, cfg.examples, None, "images as stored"),
        "augmented": _sheet(datamodule, cfg.examples, 0, "images as the net sees them"),
    }
    save_figures(folder, sheets)
    print_line(console, f"Pictures: {folder}/images.png, {folder}/augmented.png")


def _protocol_table(datamodule: ExpressionDataModule) -> Table:
    table = Table("protocol", "", title=escape(f"Dataset {datamodule.dataset_name}"))
    for name, value in datamodule.protocol.to_dict().items():
        table.add_row(name, escape(", ".join(map(str, value)) if isinstance(value, list) else value))
    for note in datamodule.samples.notes:
        table.add_row("note", escape(note))
    if datamodule.bad:
        table.add_row("bad samples", escape(f"{len(datamodule.bad)} left out, the first: {datamodule.bad[0]}"))
    return table


def _count_table(datamodule: ExpressionDataModule) -> Table:
    counts = {split: datamodule.class_counts(split) for split in SPLITS}
    table = Table("class", *SPLITS, "share of train", title="Images")
    total = sum(counts["train"])
    for index, name in enumerate(datamodule.label_set.classes):
        numbers = [counts[split][index] for split in SPLITS]
        table.add_row(escape(name), *(f"{number:,}" for number in numbers), f"{numbers[0] / total:.1%}")
    table.add_section()
    table.add_row("all", *(f"{sum(counts[split]):,}" for split in SPLITS), "100.0%")
    return table


def _sheet(datamodule: ExpressionDataModule, examples: int, epoch: int | None, description: str) -> Figure:
    """Contact sheet with one row of training images a class."""
    labels = datamodule.frame.loc[datamodule.frame["split"] == "train", "label"].to_numpy()
    dataset = datamodule.dataset("train", epoch)
    rng = np.random.default_rng(0)
    chosen, captions = [], []
    for index, name in enumerate(datamodule.label_set.classes):
        rows = np.flatnonzero(labels == index)
        chosen += rng.choice(rows, examples, replace=len(rows) < examples).tolist()
        captions += [name] * examples
    return draw_contact_sheet(
        dataset.pixels(chosen), captions, examples, f"{datamodule.dataset_name}: training {description}"
    )
