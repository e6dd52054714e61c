"""Report of a sweep: its trials as files, figures, a table in the terminal, and in W&B."""

from __future__ import annotations

import shlex
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

from fer_lightning.commands.finish import ending
from fer_lightning.commands.instantiate import build
from fer_lightning.commands.stored_config import sweep_group, wandb_nodes
from fer_lightning.files import shown_path, write_json, write_text
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import csv_text, escape, print_line, score_table
from fer_lightning.results.naming import RunLabels, upload_command
from fer_lightning.search.figures import draw_search
from fer_lightning.search.report import trial_table
from fer_lightning.training.wandb_logger import WandbRunLogger

SHOWN_TRIALS = 5
NONE_COMPLETE = "No trial is complete: there is no best one."


def report_sweep(study: Study, folder: Path, cfg: DictConfig) -> None:
    """Writes `trials.csv`, `best.json` and `figures/` of a sweep, prints its best trials and logs all of it to W&B.

    `cfg` is the common config of the trials, including `hydra`, as passed to the sweeper.
    """
    objective = cfg.selection.monitor
    trials = trial_table(study)
    text = csv_text(trials, index=False)
    unchanged = (folder / "trials.csv").is_file() and (folder / "trials.csv").read_text() == text
    write_text(folder / "trials.csv", text)
    best = describe_best(study, folder, cfg)
    write_json(folder / "best.json", best)
    figures, missing = draw_search(study, objective)
    pictures = save_figures(folder / "figures", figures)
    if not unchanged:  # a finished sweep that is started again has nothing new for W&B
        _log_to_wandb(folder, cfg, trials, best, pictures)
    _print(Console(), study, folder, objective, missing, pictures)


def describe_best(study: Study, folder: Path, cfg: DictConfig) -> dict[str, Any]:
    """Definition of a sweep and its best trial as plain JSON values; `best` is None if no trial is complete."""
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
    """Complete trials, the best first; of equal ones, the earlier first."""
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.number))  # type: ignore[operator]


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _log_to_wandb(
    folder: Path, cfg: DictConfig, trials: pd.DataFrame, best: Mapping[str, Any], pictures: Sequence[Path]
) -> None:
    """Logs the sweep as a W&B run, in the group of its trials."""
    for node in wandb_nodes(cfg):
        group = node.group or sweep_group(folder)
        choices = (OmegaConf.select(cfg, "hydra.runtime.choices") or {}).get
        sampler = choices("hydra/sweeper/sampler")
        tags = [tag for tag in (choices("data"), choices("model"), choices("study"), sampler) if tag]
        logger: WandbRunLogger = build(node, save_dir=str(folder))
        logger.describe(RunLabels(f"search {group}", group, group, "search", tuple(tags)), {})
        with ending([logger]):
            logger.log_hyperparams({key: best[key] for key in ("study", "direction", "sampler", "pruner")})
            log_sweep(logger.experiment, trials, _summary(best), pictures)


def _summary(best: Mapping[str, Any]) -> dict[str, Any]:
    trial = best["best"] or {"parameters": {}}
    return {
        **{f"trials/{state}": count for state, count in best["trials"].items()},
        **{f"best/{name}": value for name, value in trial.items() if name != "parameters"},
        **{f"best/{name}": value for name, value in trial["parameters"].items()},
    }


def _print(
    console: Console, study: Study, folder: Path, objective: str, missing: Sequence[str], pictures: Sequence[Path]
) -> None:
    console.print()
    console.print(_best_table(study, objective) if _ranked(study) else NONE_COMPLETE)
    for line in missing:
        print_line(console, line)
    # One line for each path and command, so that it can be copied.
    lines = [f"Trials:     {shown_path(folder / 'trials.csv')}"]
    lines += [f"{'' if number else 'Pictures:':<12}{shown_path(path)}" for number, path in enumerate(pictures)]
    if (folder / "conf" / "experiment" / "best.yaml").is_file():
        best = ["fer", "train", "--config-dir", str(shown_path(folder / "conf")), "experiment=best"]
        lines.append(f"Train best: {shlex.join(best)}")
    lines.append(f"Look at it: {shlex.join(['fer', 'dashboard', '--search', str(shown_path(folder))])}")
    if command := upload_command(folder):
        lines.append(f"W&B (offline): to upload the trials: {command}")
    for line in lines:
        print_line(console, line)


def _best_table(study: Study, objective: str) -> Table:
    ranked = _ranked(study)
    count = len(study.get_trials(deepcopy=False))
    shown = ranked[:SHOWN_TRIALS]
    title = f"Search {study.study_name}: {count} trials, {len(ranked)} complete, the best:"
    table = score_table(title, ["trial"], [str(trial.number) for trial in shown])
    table.columns[1].style = "bold"
    table.add_row(escape(objective), *(f"{trial.value:.5g}" for trial in shown), end_section=True)
    for name in dict.fromkeys(name for trial in shown for name in trial.params):
        table.add_row(escape(name), *(_shown(trial.params.get(name)) for trial in shown))
    return table


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def log_sweep(run: Run, trials: pd.DataFrame, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
    """Logs the table of trials, the figures and the best trial of a sweep to its W&B run."""
    logged: dict[str, Any] = {f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures}
    rows = trials.astype(object).where(trials.notna(), None)  # JSON has no NaN
    # A parameter may be a number in one trial and a string in another.
    logged["trials"] = wandb.Table(dataframe=rows, allow_mixed_types=True)
    run.log(logged)
    run.summary.update(dict(summary))
