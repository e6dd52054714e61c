"""Studies that have runs below a folder, by the study, budget and variant in the records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_lightning.errors import UserError
from fer_lightning.results.collect import read_runs
from fer_lightning.results.metrics_schema import is_run_of

_NOT_TYPED = {"seed", "study", "budget", "logger", "callbacks", "threads", "plugins", "show", "reference"}
_NOT_TYPED |= {"output_dir", "data.cache_dir"}


@dataclass(frozen=True, eq=False)
class StudyRuns:
    """Runs of one study in one folder.

    Attributes:
        name: Name of the study; None for runs without a study.
        folder: Folder that holds the run folders; of a search the sweep folder.
        runs: Records of the finished runs of the study, by run folder.
        beside: Records of all finished runs in the folder, which several studies may share.
        searched: Whether the runs are trials of a search.
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
            UserError: The runs have several budgets.
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
        """Value of `experiment=` of all runs; None if they have none, or different ones."""
        names = {run["variant"].get("experiment") for run in self.runs.values()}
        return names.pop() if len(names) == 1 else None

    def missing(self, grid: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Cells of a grid that no finished run in the folder has the options of, whichever study started it."""
        return [cell for cell in grid if not any(is_run_of(run, cell) for run in self.beside.values())]

    def command(self, swept: Collection[str]) -> str:
        """Command that trains the study: the options of all runs, without swept ones and paths of this machine.

        Args:
            swept: Names of the swept options.
        """
        first, *others = (run["overrides"] for run in self.runs.values())
        words = ["fer train", f"study={self.name}", f"budget={self.budget}"]
        for override in first:
            key, _, value = override.partition("=")
            shared = all(override in other for other in others)
            if shared and key not in (*swept, *_NOT_TYPED) and not key.startswith(("hydra", "logger.")):
                words.append(f"{key}=..." if "/" in value or "\\" in value else override)
        return " ".join(words)


def find_studies(folder: Path) -> list[StudyRuns]:
    """Groups the finished runs below a folder by study.

    Args:
        folder: Folder with run folders at any depth, or a run folder.

    Returns:
        Studies and searches by folder, in the order of their first run. The runs without a study of a folder are one
        entry with the name None.

    Raises:
        UserError: There is no such folder, or no run in it can be read.
    """
    places: dict[Path, dict[Path, dict[str, Any]]] = {}
    for path, run in read_runs(folder).items():
        places.setdefault(path if path == folder else path.parent, {})[path] = run
    studies = []
    for place, beside in places.items():
        searched = (place / "study.db").exists() or (place / "best.json").exists()
        for name in dict.fromkeys(run["study"] for run in beside.values()):
            runs = {path: run for path, run in beside.items() if run["study"] == name}
            studies.append(StudyRuns(name, place, runs, beside, searched))
    return studies
