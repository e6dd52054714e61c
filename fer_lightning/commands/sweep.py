"""The end of every sweep: its trials in a file, figures, a table in the terminal, and all of it in W&B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from omegaconf import DictConfig, OmegaConf
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table
from wandb.sdk.wandb_run import Run

from fer_lightning.commands.instantiate import build
from fer_lightning.commands.stored_config import sweep_group, wandb_nodes
from fer_lightning.files import shown_path, write_json, write_text
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import csv_text, escape, print_line
from fer_lightning.search.figures import draw_search
from fer_lightning.search.report import trial_table
from fer_lightning.training.wandb_logger import WandbRunLogger

SHOWN_TRIALS = 5
NONE_COMPLETE = "No trial is complete: there is no best one."


def report_sweep(study: Study, folder: Path, cfg: DictConfig) -> None:
    """Writes `trials.csv`, `best.json` and `figures/` of a sweep, prints its best trials and logs all of it to W&B.

    Args:
        study: With all its trials told.
        folder: The sweep folder, with the run of trial n in `<folder>/<n>`.
        cfg: What the trials have in common, with `hydra`; as the sweeper got it.
    """
    objective = cfg.selection.monitor
    trials = trial_table(study)
    text = csv_text(trials, index=False)
    told = (folder / "trials.csv").is_file() and (folder / "trials.csv").read_text() == text
    write_text(folder / "trials.csv", text)
    best = describe_best(study, folder, cfg)
    write_json(folder / "best.json", best)
    figures, missing = draw_search(study, objective)
    pictures = save_figures(folder / "figures", figures)
    if not told:  # a finished sweep that was started once more has nothing new for W&B
        _log_to_wandb(folder, cfg, trials, best, pictures)
    _print(Console(), study, folder, objective, missing, pictures)


def describe_best(study: Study, folder: Path, cfg: DictConfig) -> dict[str, Any]:
    """What the sweep found, and what the sweep was.

    Args:
        study: With any trials.
        folder: The sweep folder.
        cfg: As the sweeper got it.

    Returns:
        Plain JSON values; `best` is None where no trial is complete.
    """
    trials = study.get_trials(deepcopy=False)
    states = [trial.state.name.lower() for trial in trials]
    best = study.best_trial if _ranked(study) else None
    sweeper = OmegaConf.select(cfg, "hydra.sweeper") or {}
    return {
        "study": study.study_name,
        "objective": cfg.selection.monitor,
        "direction": study.direction.name.lower(),
        "trials": {state: states.count(state) for state in dict.fromkeys(states)},
        "best": best
        and {
            "trial": best.number,
            "value": best.value,
            "parameters": best.params,
            "folder": str(folder / str(best.number)),
        },
        "sampler": _plain(sweeper.get("sampler")),
        "pruner": _plain(sweeper.get("pruner")),
    }


def _ranked(study: Study) -> list[FrozenTrial]:
    """The complete trials, best first; of equal ones the earlier."""
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.number))  # type: ignore[operator]


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _log_to_wandb(
    folder: Path, cfg: DictConfig, trials: pd.DataFrame, best: Mapping[str, Any], pictures: Sequence[Path]
) -> None:
    """Logs one W&B run beside those of the trials."""
    for node in wandb_nodes(cfg):
        group = node.group or sweep_group(folder)
        logger: WandbRunLogger = build(node, save_dir=str(folder), group=group, name=node.name or f"sweep {group}")
        failed = True
        try:
            logger.log_hyperparams({key: best[key] for key in ("study", "direction", "sampler", "pruner")})
            log_sweep(logger.experiment, trials, _summary(best), pictures)
            failed = False
        finally:
            logger.close(failed)


def _summary(best: Mapping[str, Any]) -> dict[str, Any]:
    found = best["best"] or {"parameters": {}}
    return {
        **{f"trials/{state}": count for state, count in best["trials"].items()},
        **{f"best/{name}": value for name, value in found.items() if name != "parameters"},
        **{f"best/{name}": value for name, value in found["parameters"].items()},
    }


def _print(
    console: Console, study: Study, folder: Path, objective: str, missing: Sequence[str], pictures: Sequence[Path]
) -> None:
    console.print()
    console.print(_best_table(study, objective) if _ranked(study) else NONE_COMPLETE)
    for line in missing:
        print_line(console, line)
    # Paths and commands stay on one line each, so that they can be copied.
    lines = [f"Trials:     {shown_path(folder / 'trials.csv')}"]
    lines += [f"{'' if number else 'Pictures:':<12}{shown_path(path)}" for number, path in enumerate(pictures)]
    if (folder / "conf" / "experiment" / "best.yaml").is_file():
        lines.append(f"Train best: fer train --config-dir {shown_path(folder / 'conf')} experiment=best")
    lines.append(f"Look at it: fer dashboard --search {shown_path(folder)}")
    for line in lines:
        print_line(console, line)


def _best_table(study: Study, objective: str) -> Table:
    ranked = _ranked(study)
    count = len(study.get_trials(deepcopy=False))
    shown = ranked[:SHOWN_TRIALS]
    table = Table(
        title=escape(f"Search {study.study_name}: {count} trials, {len(ranked)} complete, the best:"),
        title_justify="left",
        title_style="bold",
    )
    table.add_column("trial")
    for place, trial in enumerate(shown):
        table.add_column(str(trial.number), justify="right", style="bold" if place == 0 else None)
    table.add_row(escape(objective), *(f"{trial.value:.5g}" for trial in shown), end_section=True)
    for name in dict.fromkeys(name for trial in shown for name in trial.params):
        table.add_row(escape(name), *(_shown(trial.params.get(name)) for trial in shown))
    return table


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def log_sweep(run: Run, trials: pd.DataFrame, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
    """Logs the trials of a sweep as a table, its pictures and what it found.

    Args:
        run: A W&B run of its own, in the group of the trials' runs.
        trials: One row a trial.
        summary: The best trial: plain values.
        pictures: The figures of the sweep.
    """
    logged: dict[str, Any] = {f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures}
    rows = trials.astype(object).where(trials.notna(), None)  # NaN is no JSON
    # A parameter can be a number in one trial and a word in another.
    logged["trials"] = wandb.Table(dataframe=rows, allow_mixed_types=True)
    run.log(logged)
    run.summary.update(dict(summary))
