"""Which studies have runs below a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_lightning.errors import UserError
from fer_lightning.results.collect import read_runs

_NOT_TYPED = ("seed", "study", "budget", "logger", "callbacks", "threads", "plugins", "output_dir", "data.cache_dir")


@dataclass(frozen=True)
class FoundStudy:
    """Runs of one study in one folder.

    Attributes:
        name: As in `study=`; None for runs without a study.
        folder: In which the runs are; of a search its sweep folder.
        overrides: What was typed, or swept, for each finished run of it.
        searched: Whether its runs are trials of a search.
    """

    name: str | None
    folder: Path
    overrides: tuple[tuple[str, ...], ...]
    searched: bool

    @property
    def budget(self) -> str | None:
        """Name of the budget; None where none was typed.

        Raises:
            UserError: There are several.
        """
        typed = {_options(run).get("budget") for run in self.overrides}
        if len(typed) > 1:
            told = " and ".join(sorted(f"budget={each}" if each else "the default" for each in typed))
            raise UserError(
                f"{self.folder} holds runs of study={self.name} with {told}: keep them in separate folders."
            )
        return typed.pop()

    @property
    def experiment(self) -> str | None:
        """The recipe that was typed for all runs in place of the study's own; None where it was none."""
        typed = {_options(run).get("experiment") for run in self.overrides}
        return typed.pop() if len(typed) == 1 else None

    def command(self, swept: tuple[str, ...]) -> str:
        """What runs it: what all runs have in common but not what is this machine's, as its paths.

        Args:
            swept: The options in which its runs differ.
        """
        shared = set.intersection(*(set(run) for run in self.overrides))
        told = [f"study={self.name}", *([f"budget={self.budget}"] if self.budget else [])]
        for override in self.overrides[0]:
            key, _, value = override.partition("=")
            if override in shared and key not in (*swept, *_NOT_TYPED) and not key.startswith(("hydra", "logger.")):
                told.append(f"{key}=..." if "/" in value or "\\" in value else override)
        return " ".join(["fer train", *told])


def find_studies(folder: Path) -> list[FoundStudy]:
    """Finds what `fer report` can show.

    Args:
        folder: Holds runs at any depth, or is one.

    Returns:
        The studies and searches, by folder and in the order of their first run; runs without a study are one more entry
        with the name None, for each folder that holds some.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one that fer train wrote, for example outputs.")
    runs: dict[tuple[Path, str | None], list[tuple[str, ...]]] = {}
    for run, metrics in read_runs(folder)[0].items():
        place = run if run == folder else run.parent
        overrides = tuple(metrics["overrides"])
        name = _options(overrides).get("study")
        runs.setdefault((place, name), []).append(overrides)
    return [
        FoundStudy(name, place, tuple(overrides), (place / "study.db").exists() or (place / "best.json").exists())
        for (place, name), overrides in runs.items()
    ]


def _options(overrides: tuple[str, ...]) -> dict[str, str]:
    return {key.lstrip("+"): value for key, _, value in (override.partition("=") for override in overrides)}
