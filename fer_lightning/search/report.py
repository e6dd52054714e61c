"""Report of a finished search: table of its trials, and its best parameters beside published ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from optuna import Study

from fer_lightning.errors import UserError
from fer_lightning.files import write_text
from fer_lightning.plots.text import NOTHING, facts_markdown, markdown_text, table_markdown
from fer_lightning.results.metrics_schema import read_best


@dataclass(frozen=True)
class SearchDefinition:
    """Content of the report of a search.

    Attributes:
        title: Title of the report.
        parameters: Searched option by row of the published table; empty for all options by their names.
        paper: Folder of `published.csv`, or None.
        table: Published table of the parameters, or None.
    """

    title: str
    parameters: Mapping[str, str]
    paper: str | None = None
    table: str | None = None

    @classmethod
    def from_block(cls, name: str, block: Mapping[str, Any]) -> SearchDefinition:
        """Reads the `report:` block of a search.

        Raises:
            UserError: A key is missing or unknown.
        """
        known = {field.name for field in fields(cls)}
        if set(block) - known or not {"title", "parameters"} <= set(block):
            raise UserError(
                f"the report block of the search study={name} must have title and parameters, and optionally paper and "
                f"table; got {', '.join(block)}."
            )
        return cls(**block)


def write_search(
    search: Path, definition: SearchDefinition, published: pd.DataFrame | None, folder: Path
) -> list[Path]:
    """Writes the report of a search.

    Args:
        search: Folder of the search, with `trials.csv`, `best.json` and `figures`.
        definition: Content of the report.
        published: Published numbers (`read_published`), or None.
        folder: Folder of the report, which is created if needed.

    Returns:
        Paths of `table.md`, `trials.csv` and the figures, first the fitness curve (Fig. 3 of PsySFA-Net).

    Raises:
        UserError: The search is not finished, or no trial is complete.
    """
    if not (search / "best.json").is_file() or not (search / "trials.csv").is_file():
        raise UserError(f"the search in {search} is not finished: repeat its command to continue it.")
    best = read_best(search / "best.json")
    if best["best"] is None:
        raise UserError(f"no trial of the search in {search} is complete: there is no best one to report.")
    folder.mkdir(parents=True, exist_ok=True)
    figures = sorted(
        (path for path in (search / "figures").glob("*.png") if path.is_file() and not path.is_symlink()),
        key=lambda path: (path.name != "fitness.png", path.name),
    )
    copied = [Path(shutil.copy(path, folder / path.name)) for path in (search / "trials.csv", *figures)]
    table = table_markdown(best_table(best["best"]["parameters"], definition, published))
    heading = definition.title if definition.table is None else f"{definition.table}: {definition.title}"
    counted = ", ".join(f"{count} {state}" for state, count in best["trials"].items())
    sampler = str((best["sampler"] or {}).get("_target_", "its default")).rpartition(".")[2]
    facts = {
        "Objective": f"{best['objective']}, {best['direction']}d",
        "Trials": counted,
        "Sampler": sampler,
        "Best": f"trial {best['best']['trial']}, {best['objective']} {best['best']['value']:.5g}",
    }
    pictures = [f"![{markdown_text(path.stem.replace('_', ' '))}]({quote(path.name)})" for path in figures]
    text = "\n\n".join([f"## {markdown_text(heading)}", facts_markdown(facts), table, *pictures]) + "\n"
    return [write_text(folder / "table.md", text), *copied]


def best_table(
    best: Mapping[str, object], definition: SearchDefinition, published: pd.DataFrame | None
) -> pd.DataFrame:
    """One row per parameter with its published numbers and its best value.

    Args:
        best: Best value by option.
        definition: Content of the report.
        published: Result of `read_published`, or None.

    Raises:
        UserError: The published table has no such row.
    """
    claims = pd.DataFrame() if published is None else published[published["table"] == definition.table]
    parameters = definition.parameters or {name: name for name in best}
    lines = []
    for title, option in parameters.items():
        line = {"parameter": title, **({"option": option} if definition.parameters else {})}
        if not claims.empty:
            claim = claims[claims["row"] == title]
            if claim.empty:
                raise UserError(f"{definition.table} has no row {title!r}: it has {', '.join(claims['row'].unique())}.")
            line |= {f"published {metric}": f"{value:g}" for metric, value in zip(claim["metric"], claim["value"])}
        value = best.get(option, NOTHING)
        lines.append(line | {"found here": f"{value:.4g}" if isinstance(value, float) else str(value)})
    return pd.DataFrame(lines)


def trial_table(study: Study) -> pd.DataFrame:
    """One row per trial: `number`, `state`, `value` (the last reported one of a pruned trial), the parameters by their
    names, `seconds`."""
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        [
            trial.number,
            trial.state.name.lower(),
            trial.value,
            *(trial.params.get(name) for name in names),
            trial.duration.total_seconds() if trial.duration else None,
        ]
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=["number", "state", "value", *names, "seconds"])
