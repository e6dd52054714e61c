"""Contestants look at the same frames in rounds, so that whatever disturbs a round disturbs all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from fer_lightning.benchmark.peers import Driver, DriverError
from fer_lightning.deploy.benchmark.frames import HEIGHT, WIDTH

WARM_UP = 2  # times that each looks at all frames before it is timed


@dataclass
class Contest:
    """What came of a contest.

    Attributes:
        times: One row a measurement: `who`, `round`, `stage` (`whole` is from frame to label in elapsed time, `cpu` the
            same in processor time, others are its parts) and `milliseconds`.
        facts: Of each who took part: `name`, `version`, `settings`, `labels` (one a frame, None where no face was
            found) and `peak_memory_mb`.
        left_out: Why others did not, by name.
    """

    times: pd.DataFrame
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def hold_contest(
    commands: Mapping[str, Sequence[str]],
    frames: Sequence[Path],
    threads: int,
    rounds: int,
    progress: Callable[[Sequence[Any], str], Iterable[Any]],
) -> Contest:
    """Starts all contestants and lets them look at all frames once a round, one contestant after the other.

    The one that begins changes from round to round.

    Args:
        commands: How to start them, by name.
        frames: Files of raw RGB bytes, 640 x 480.
        threads: Threads and cores of each of them.
        rounds: How often each looks at all frames.
        progress: Goes through what it is given and shows how far it is; takes what it goes through and a word for it.
    """
    contest = Contest(pd.DataFrame(columns=["who", "round", "stage", "milliseconds"]))
    request = {"frames": [str(path) for path in frames], "width": WIDTH, "height": HEIGHT, "threads": threads}
    tables: list[pd.DataFrame] = []
    with ExitStack() as stack:
        drivers: dict[str, Driver] = {}
        for who in progress(list(commands), "Starting"):
            try:
                driver = stack.enter_context(closing(Driver(commands[who], threads)))
                contest.facts[who] = driver.ask(request)
                driver.ask({"repeats": WARM_UP * len(frames)})
                drivers[who] = driver
            except DriverError as error:
                contest.left_out[who] = str(error)
        for number in progress(range(rounds), "Timing"):
            for who in _from(list(drivers), number):
                try:
                    answer = drivers[who].ask({"repeats": len(frames)})
                except DriverError as error:
                    contest.left_out[who] = str(error)
                    del drivers[who]
                    continue
                contest.facts[who]["labels"] = answer["labels"]
                tables.append(_rows(who, number, answer["milliseconds"]))
        for who, driver in drivers.items():
            contest.facts[who]["peak_memory_mb"] = driver.peak_memory()
    if tables:
        times = pd.concat(tables, ignore_index=True)
        contest.times = times[~times["who"].isin(list(contest.left_out))]
    contest.facts = {who: facts for who, facts in contest.facts.items() if who not in contest.left_out}
    return contest


def _from(names: list[str], number: int) -> list[str]:
    start = number % max(1, len(names))
    return names[start:] + names[:start]


def _rows(who: str, number: int, milliseconds: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    parts = [pd.DataFrame({"stage": stage, "milliseconds": values}) for stage, values in milliseconds.items()]
    return pd.concat(parts).assign(who=who, round=number)
