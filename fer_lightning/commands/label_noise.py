"""`fer label_noise`: annotator agreement on FER2013 and FERPlus, from the votes of FERPlus."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from hydra.utils import get_class
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lightning.data.fer2013 import Fer2013SplitsDataModule
from fer_lightning.data.ferplus import VoteLabels, read_vote_labels
from fer_lightning.data.ferplus_votes import DROPPED, EMOTIONS, majority
from fer_lightning.errors import UserError
from fer_lightning.files import write_csv
from fer_lightning.plots.dataset import draw_agreement
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import escape, print_line, score_table
from fer_lightning.results.label_noise import (
    annotator_against_the_others,
    annotator_agreement,
    best_against_annotator,
    consensus_agreement,
    summarise,
)

CONSENSUS = "consensus = FER2013 label"
MAJORITY = "majority = FER2013 label"
ANNOTATOR = "one annotator = FER2013 label"
BEST = "best answer = one annotator"
ANNOTATOR_MAJORITY = "one annotator = FERPlus majority"
ANNOTATOR_OTHERS = "one annotator = consensus of the others"


def run(cfg: DictConfig) -> None:
    """Prints the agreements and writes `label_noise.csv` and `label_noise.png`."""
    if "_target_" not in cfg.data or not issubclass(get_class(cfg.data._target_), Fer2013SplitsDataModule):
        raise UserError("fer label_noise needs several votes an image, which only FERPlus has: use data=ferplus.")
    labels = read_vote_labels(cfg.data.root)
    table = agreement_table(labels)
    folder = Path(cfg.output_dir)
    write_csv(folder / "label_noise.csv", table, index=False, float_format="%.4f")
    pictures = save_figures(folder, {"label_noise": draw_agreement(table, [CONSENSUS, ANNOTATOR, ANNOTATOR_OTHERS])})
    console = Console()
    console.print(_split_table(table))
    console.print(_class_table(table))
    if labels.left_out:
        console.print(f"{labels.left_out} rows are left out: no vote, or unreadable.")
    files = ", ".join(str(path) for path in (folder / "label_noise.csv", *pictures))
    print_line(console, f"Report: {files}")


def agreement_table(labels: VoteLabels) -> pd.DataFrame:
    """All agreements by split and class, as the table of `summarise`.

    Agreements with the FER2013 label are grouped by that label; those with the majority or the other annotators are
    over the images that the FERPlus majority rule keeps, grouped by the majority.
    """
    votes, label, usage = labels.votes, labels.label, labels.usage
    winner = majority(votes)
    kept = winner != DROPPED
    consensus = consensus_agreement(votes, label)
    parts = [
        (CONSENSUS, consensus, usage, label),
        (MAJORITY, (winner == label)[kept].astype(float), usage[kept], label[kept]),
        (ANNOTATOR, annotator_agreement(votes, label), usage, label),
        (BEST, best_against_annotator(votes, len(EMOTIONS)), usage, label),
        (ANNOTATOR_MAJORITY, annotator_agreement(votes[kept], winner[kept]), usage[kept], winner[kept]),
        (ANNOTATOR_OTHERS, annotator_against_the_others(votes[kept]), usage[kept], winner[kept]),
    ]
    return pd.concat([summarise(*part, EMOTIONS) for part in parts], ignore_index=True)


def _formatted(row: pd.Series) -> str:
    return f"{row.agreement:.1%} [{row.low:.1%}, {row.high:.1%}]"


def _split_table(table: pd.DataFrame) -> Table:
    overall = table[table["class"] == "all"]
    splits = list(dict.fromkeys(overall["split"]))
    printed = score_table("Annotator agreement, with 95 % intervals", ["agreement", *splits], [])
    for measure, rows in overall.groupby("measure", sort=False):
        cells = {row["split"]: f"{_formatted(row)}\nn = {row['images']:,}" for _, row in rows.iterrows()}
        printed.add_row(str(measure), *(cells.get(split, "-") for split in splits))
    return printed


def _class_table(table: pd.DataFrame) -> Table:
    shown = [CONSENSUS, ANNOTATOR, ANNOTATOR_OTHERS]
    together = table[(table["split"] == "all") & (table["class"] != "all")].set_index(["measure", "class"])
    printed = score_table("By class, all splits", ["class", *shown], [])
    for name in EMOTIONS:
        keys = [(measure, name) for measure in shown]
        printed.add_row(
            escape(name), *(_formatted(together.loc[key]) if key in together.index else "-" for key in keys)
        )
    return printed
