"""`fer audit`: copies, label conflicts, leaks between splits, and blank, bad and missing images of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lightning.commands.instantiate import build_datamodule
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.duplicates.audit import KINDS, Findings, audit
from fer_lightning.data.duplicates.near import LEAST_CORRELATION, RADIUS
from fer_lightning.files import write_csv, write_json
from fer_lightning.plots.contact_sheet import draw_contact_sheet
from fer_lightning.plots.dataset import draw_copies
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import escape, print_line, score_table


def run(cfg: DictConfig) -> None:
    """Prints the findings and writes `audit.json`, `duplicates.csv` and figures."""
    datamodule = build_datamodule(cfg)
    findings = audit(datamodule)
    folder = Path(cfg.output_dir)
    write_json(folder / "audit.json", _summary(datamodule, findings))
    pairs = findings.pairs.drop(columns=["first_row", "second_row"])
    write_csv(folder / "duplicates.csv", pairs, index=False, float_format="%.4f")
    figures = {"copies": draw_copies(findings.by_splits, datamodule.dataset_name)}
    conflicting = _conflicting(findings.pairs)
    if shown := min(cfg.examples, len(conflicting)):
        captions, rows = _captions(conflicting.head(shown))
        title = f"{datamodule.dataset_name}: copies with different labels"
        figures["conflicts"] = draw_contact_sheet(datamodule.pixels(rows), captions, 8, title)
    pictures = save_figures(folder, figures)
    console = Console()
    console.print(_copy_table(findings, datamodule))
    console.print(_exposure_table(findings))
    console.print(_other_table(findings))
    files = ", ".join(str(path) for path in (folder / "audit.json", folder / "duplicates.csv", *pictures))
    print_line(console, f"Report: {files}")


def _conflicting(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs whose labels differ, sorted by kind (exact copies first), then pairs across splits first."""
    conflicts = pairs[pairs["first_label"] != pairs["second_label"]]
    within = conflicts["first_split"] == conflicts["second_split"]
    return conflicts.iloc[np.lexsort((within, conflicts["kind"].map(KINDS.index)))]


def _captions(pairs: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    captions = [
        f"{split}: {label}"
        for pair in pairs.itertuples()
        for split, label in ((pair.first_split, pair.first_label), (pair.second_split, pair.second_label))
    ]
    return captions, pairs[["first_row", "second_row"]].to_numpy().reshape(-1)


def _summary(datamodule: ExpressionDataModule, findings: Findings) -> dict[str, Any]:
    return {
        "protocol": datamodule.protocol.to_dict(),
        "rules": {"hash_bits": 64, "most_bits_that_differ": RADIUS, "least_correlation": LEAST_CORRELATION},
        "pairs": {kind: int(findings.by_splits[kind].sum()) for kind in KINDS},
        "conflicting_pairs": findings.conflicting,
        "groups_of_copies": {"groups": len(findings.copy_groups), "largest": findings.copy_groups[:10]},
        "pairs_by_splits": findings.by_splits.to_dict("records"),
        "evaluation_images_with_a_copy_in_training": findings.exposed.to_dict("records"),
        "blank": findings.blank,
        "bad": list(findings.bad),
        "official_counts_known": findings.official,
        "differences_from_official_counts": findings.differences.to_dict("records"),
        "groups": findings.groups,
        "groups_in_several_splits": findings.crossing.to_dict("records"),
    }


def _copy_table(findings: Findings, datamodule: ExpressionDataModule) -> Table:
    title = f"{datamodule.dataset_name}: pairs that show the same picture"
    table = score_table(title, ["splits"], [*KINDS, "labels differ"])
    for row in findings.by_splits.itertuples(index=False):
        table.add_row(row.splits, *(f"{getattr(row, name):,}" for name in (*KINDS, "conflicting")))
    table.add_section()
    table.add_row("all", *(f"{findings.by_splits[name].sum():,}" for name in (*KINDS, "conflicting")))
    return table


def _exposure_table(findings: Findings) -> Table:
    table = score_table("Images with a copy in training", ["split"], ["images", "exact copy", "any copy"])
    for row in findings.exposed.itertuples(index=False):
        shares = (f"{count:,} ({count / row.images:.1%})" for count in (row.exact, row.any))
        table.add_row(row.split, f"{row.images:,}", *shares)
    return table


def _other_table(findings: Findings) -> Table:
    table = score_table("Other findings", ["looked for", "found"], [])
    largest = f", the largest of {findings.copy_groups[0]:,} images" if findings.copy_groups else ""
    table.add_row("groups of images that show one picture", f"{len(findings.copy_groups):,}{largest}")
    table.add_row("blank images", _listed(findings.blank))
    table.add_row("bad rows", _listed(findings.bad))
    differences = [
        f"{split} {name}: {found} of {official}"
        for split, name, official, found in findings.differences.itertuples(index=False)
    ]
    table.add_row("other than official counts", _listed(differences) if findings.official else "none are known")
    if findings.groups is None:
        table.add_row("subjects in several splits", "this release names no subjects")
    else:
        table.add_row("subjects in several splits", f"{len(findings.crossing)} of {findings.groups}")
    return table


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(escape(name) for name in names[:4])
    return f"{len(names)}: {shown}{', ...' if len(names) > 4 else ''}" if names else "none"
