"""`fer report`: tables and figures of the studies below a folder, finished or not."""

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
from fer_lightning.studies.discovery import StudyRuns, find_studies

_EXAMPLES = """examples:
  fer train study=psysfa_table6 budget=smoke           a study of a paper's table, in minutes
  fer report outputs/studies/psysfa_ablations_synthetic_smoke
                                                       its tables and figures, into experiments/psysfa_net/
  fer report outputs/studies                           every study that has runs, finished or not
  fer report outputs/multirun/2026-01-31_12-00-00      runs without a study: all variants side by side

Nothing is trained or scored again: reports are computed from the records of the runs.
"""


def main(argv: Sequence[str]) -> None:
    """Reports every study below a folder.

    Raises:
        UserError: There are no runs, or a study cannot be reported; the others are reported nevertheless.
    """
    parser = argparse.ArgumentParser(
        prog="fer report",
        description="Writes the report of a study: each published score beside the measured mean over seeds, with "
        "interval and significance test, as HTML, Markdown, CSV and figures. Rows without runs are shown as not run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder of a study, or of several")
    parser.add_argument("--to", type=Path, default=Path("experiments"), help="output folder (experiments)")
    parser.add_argument("--config-dir", type=Path, help="folder of your own studies, as for fer train --config-dir")
    parser.add_argument(
        "--wandb",
        choices=("auto", "online", "offline", "disabled"),
        default="auto",
        help="log the study as a W&B run beside its runs; auto: in the mode of the runs, if they were logged (auto)",
    )
    options = parser.parse_args(argv)
    studies = find_studies(options.folder)
    named = [study for study in studies if study.name is not None or study.searched]
    from fer_lightning.commands.study_report import find_included, report_comparison, report_search, report_study

    console = Console()
    failed: dict[StudyRuns, str] = {}

    def report(study: StudyRuns) -> None:
        try:
            if study.searched:
                report_search(study, options.to, options.config_dir, console)
            else:
                report_study(study, options.to, options.config_dir, options.wandb, console)
        except UserError as error:
            failed[study] = str(error)

    for study in named:
        report(study)
    grids = [study for study in named if not (study.searched or study in failed)]
    for study in find_included(grids, options.config_dir):
        report(study)
    if not named:
        report_comparison(studies, options.folder, options.to, options.wandb, console)
    elif len(named) < len(studies):
        omitted = ", ".join(str(shown_path(study.folder)) for study in studies if study not in named)
        print_line(console, f"Runs without a study are omitted: to compare them, give fer report only {omitted}.")
    if failed:
        raise UserError(*failed.values())


class TellReport(Callback):
    """Prints the command that reports a study after its last run, unless a run failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:  # the signature is Hydra's
        print(f"\nThe study has finished: fer report {shown_path(Path(config.hydra.sweep.dir))}")
