"""Which studies have runs below a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_lightning.errors import UserError
from fer_lightning.results.collect import read_runs
from fer_lightning.results.metrics_schema import typed_options

_NOT_TYPED = ("seed", "study", "budget", "logger", "callbacks", "threads", "plugins", "output_dir", "data.cache_dir")


@dataclass(frozen=True, eq=False)
class FoundStudy:
    """Runs of one study in one folder.

    Attributes:
        name: As in `study=`; None for runs without a study.
        folder: In which the runs are; of a search its sweep folder.
        runs: The records of its finished runs, by their folders.
        beside: Those of all finished runs in the folder, which other studies may share.
        searched: Whether its runs are trials of a search.
    """

    name: str | None
    folder: Path
    runs: Mapping[Path, Mapping[str, Any]]
    beside: Mapping[Path, Mapping[str, Any]]
    searched: bool = False

    @property
    def budget(self) -> str | None:
        """Name of the budget; None for runs without a study.

        Raises:
            UserError: There are several.
        """
        names = {run["budget"] for run in self.runs.values()}
        if len(names) > 1:
            several = " and ".join(sorted(f"budget={name}" for name in names))
            raise UserError(
                f"{self.folder} holds runs of study={self.name} with {several}: keep them in separate folders."
            )
        return names.pop()

    @property
    def experiment(self) -> str | None:
        """The recipe that was typed for all runs in place of the study's own; None where it was none."""
        names = {run["variant"].get("experiment") for run in self.runs.values()}
        return names.pop() if len(names) == 1 else None

    def missing(self, grid: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """The runs of a grid that no run in the folder is, whichever study started it."""
        return [cell for cell in grid if not any(is_run_of(run, cell) for run in self.beside.values())]

    def command(self, swept: Collection[str]) -> str:
        """What runs it: what all runs have in common but not what is this machine's, as its paths.

        Args:
            swept: The options in which its runs differ.
        """
        first, *others = (run["overrides"] for run in self.runs.values())
        words = ["fer train", f"study={self.name}", f"budget={self.budget}"]
        for override in first:
            key, _, value = override.partition("=")
            shared = all(override in other for other in others)
            if shared and key not in (*swept, *_NOT_TYPED) and not key.startswith(("hydra", "logger.")):
                words.append(f"{key}=..." if "/" in value or "\\" in value else override)
        return " ".join(words)


def is_run_of(run: Mapping[str, Any], cell: Mapping[str, str]) -> bool:
    """Whether a run has the options of one cell of a grid.

    Args:
        run: Its record.
        cell: Value by name of the option.
    """
    return cell.items() <= typed_options(run["overrides"]).items()


def find_studies(folder: Path) -> list[FoundStudy]:
    """Finds what `fer report` can show.

    Args:
        folder: Holds runs at any depth, or is one.

    Returns:
        The studies and searches, by folder and in the order of their first run; runs without a study are one more entry
        with the name None, for each folder that holds some.

    Raises:
        UserError: As `read_runs`.
    """
    places: dict[Path, dict[Path, dict[str, Any]]] = {}
    for path, run in read_runs(folder).items():
        places.setdefault(path if path == folder else path.parent, {})[path] = run
    found = []
    for place, beside in places.items():
        searched = (place / "study.db").exists() or (place / "best.json").exists()
        for name in dict.fromkeys(run["study"] for run in beside.values()):
            own = {path: run for path, run in beside.items() if run["study"] == name}
            found.append(FoundStudy(name, place, own, beside, searched))
    return found
