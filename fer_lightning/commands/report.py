"""`fer report`: from the records of a study to its tables and pictures, also while it still runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from fer_lightning.errors import UserError
from fer_lightning.files import shown_path
from fer_lightning.plots.text import print_line
from fer_lightning.studies.discovery import FoundStudy, find_studies

_EXAMPLES = """examples:
  fer train study=psysfa_table6 budget=smoke           a study of a paper's table, in minutes
  fer report outputs/studies/psysfa_ablations_synthetic_smoke
                                                       its tables and pictures, into experiments/psysfa_net/
  fer report outputs/studies                           every study that has runs, finished or not
  fer report outputs/multirun/2026-01-31_12-00-00      runs without a study: all variants side by side

Nothing is trained or scored again: everything is computed from the records of the runs.
"""


def main(argv: Sequence[str]) -> None:
    """Reports every study below a folder.

    Args:
        argv: Arguments after `fer report`.

    Raises:
        UserError: There is nothing to report, or runs that cannot be compared stand side by side, which does not keep
            the other studies from being reported.
    """
    parser = argparse.ArgumentParser(
        prog="fer report",
        description="Writes what a study found: each published number beside the measured mean over seeds, with its "
        "interval and a test, as one web page, Markdown, CSV and pictures. A row without a run is told as not run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder of a study, or above several")
    parser.add_argument("--to", type=Path, default=Path("experiments"), help="where to write (experiments)")
    parser.add_argument("--config-dir", type=Path, help="where studies of your own are, as for fer train --config-dir")
    parser.add_argument(
        "--wandb",
        choices=("auto", "online", "offline", "disabled"),
        default="auto",
        help="log the study as a W&B run beside its runs; auto: if they were logged, and in the same way (auto)",
    )
    options = parser.parse_args(argv)
    found = find_studies(options.folder)
    named = [study for study in found if study.name is not None or study.searched]
    from fer_lightning.commands.study_report import (
        find_included,
        report_comparison,
        report_found_search,
        report_found_study,
    )

    console = Console()
    failed: dict[FoundStudy, str] = {}

    def report(study: FoundStudy) -> None:
        try:
            if study.searched:
                report_found_search(study, options.to, options.config_dir, console)
            else:
                report_found_study(study, options.to, options.config_dir, options.wandb, console)
        except UserError as error:
            failed[study] = str(error)

    for study in named:
        report(study)
    grids = [study for study in named if not (study.searched or study in failed)]
    for study in find_included(grids, options.config_dir):
        report(study)
    if not named:
        report_comparison(found, options.folder, options.to, options.wandb, console)
    elif len(named) < len(found):
        left_out = ", ".join(str(shown_path(study.folder)) for study in found if study not in named)
        print_line(
            console, f"Runs without a study are left out: fer report shows them when it is given {left_out} alone."
        )
    if failed:
        raise UserError(*failed.values())


class TellReport(Callback):
    """Tells how the runs of a study become tables; not said where a run failed, whose error then comes last."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:  # the signature is Hydra's
        print(f"\nThe study is done: fer report {shown_path(Path(config.hydra.sweep.dir))}")
