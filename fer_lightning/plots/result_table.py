"""Tables of runs in the terminal: of a finished one, and of those that a multirun trains at once."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from fer_lightning.files import shown_path
from fer_lightning.plots.text import duration, escape, points, print_fitting, print_line, score_table
from fer_lightning.results.calibration import bound_note
from fer_lightning.results.fairness import MIN_IMAGES
from fer_lightning.results.naming import run_title, upload_command
from fer_lightning.results.protocol import AFFECT

_SCORES = ("images", "accuracy [95%]", "balanced", "macro\nF1")
_OF_GROUPS = {"accuracy": "accuracy", "macro_f1": "macro F1"}
_MOST_RUNNING = 10  # rows of the table of running runs
_LEAST = ("ECE", "AUROC", "balanced", "images")  # columns that a narrow terminal does not show


def split_table(metrics: Mapping[str, Any], without: Collection[str] = ()) -> Table:
    """One row per split with its scores in `metrics.json`; `without` are headings of columns to omit."""
    rows = {
        split: {**_cells(scores), "AUROC": _plain(scores["auroc"]), "ECE": _plain(scores["ece"])}
        for split, scores in metrics["splits"].items()
    }
    table = _without(run_title(metrics), "split", rows, without)
    if "test_clean" in rows:
        table.caption = "test_clean: without the test images that have an exact copy in training"
    return table


def _without(title: str, heading: str, rows: Mapping[str, Mapping[str, str]], without: Collection[str]) -> Table:
    """Table of numbers by name of the row and heading of the column."""
    numbers = [name for name in next(iter(rows.values()), {}) if name not in without]
    table = score_table(title, [heading], numbers)
    for name, cells in rows.items():
        table.add_row(escape(name), *(cells[number] for number in numbers))
    return table


def class_table(metrics: Mapping[str, Any], split: str, without: Collection[str] = ()) -> Table:
    """One row per class with its scores on a split; arguments as in `split_table`."""
    rows = {}
    for name, scores in metrics["splits"][split]["per_class"].items():
        cells = {"images": f"{scores['support']:,}", "precision": _percent(scores["precision"])}
        cells |= {"recall": _percent(scores["recall"]), "F1": _percent(scores["f1"])}
        if scores["support"] == 0:
            cells |= {"recall": "-", "F1": "-"}
        rows[name] = cells
    return _without(f"Classes, {split}", "class", rows, without)


def calibration_line(calibration: Mapping[str, Any]) -> str:
    """Sentence on the calibration error with and without a temperature, of a record with a test split."""
    test = calibration["test"]
    return (
        f"Calibration error on test: {test['ece']:.3f} -> {test['ece_scaled']:.3f} with temperature "
        f"{calibration['temperature']:.2f}, fitted on validation{bound_note(calibration['temperature'])}"
    )


def other_data_table(other_data: Mapping[str, Mapping[str, Any]], without: Collection[str] = ()) -> Table:
    """One row per other data set with the scores of its test split, the field `elsewhere` of `metrics.json`."""
    rows = {}
    for name, scores in other_data.items():
        rows[name] = dict.fromkeys([*_SCORES, "seen,\nleft out"], "-")
        if "missing" not in scores:
            seen = "unknown" if scores["seen"] is None else f"{scores['seen']:,}"
            rows[name] |= {**_cells(scores), "seen,\nleft out": seen}
    return _without("On other data, test", "data", rows, without)


def corruption_table(robustness: Mapping[str, Any]) -> Table:
    """One row per corruption with the mean accuracy over its severities, also as a share of the clean accuracy."""
    table = score_table("Corrupted images", ["corruption"], ["accuracy", "of clean"])
    table.add_row("clean", _percent(robustness["clean"]), "")
    for name, accuracy in robustness["accuracy"].items():
        share = robustness["relative"][name]
        table.add_row(escape(name.replace("_", " ")), _percent(accuracy), "-" if share is None else f"{share:.0%}")
    return table


def affect_table(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per split with the scores of valence and arousal."""
    names = {
        f"{score}_{name}": f"{title} {name}" for name in AFFECT for score, title in (("ccc", "CCC"), ("rmse", "RMSE"))
    }
    rows = {
        split: {title: _plain(scores[name]) for name, title in names.items()}
        for split, scores in splits.items()
        if names.keys() <= scores.keys()
    }
    return _without("Valence and arousal", "split", rows, ())


def group_table(attribute: str, scores: Mapping[str, Any], split: str) -> Table:
    """One row per group of an attribute of people, with its scores in the field `fairness` of `metrics.json`.

    Below are the differences between the best and the worst group.
    """
    rows = {
        name: {
            "images": f"{group['n']:,}",
            **{f"{title} [95%]": _interval(group, key) for key, title in _OF_GROUPS.items()},
        }
        for name, group in scores["groups"].items()
    }
    table = _without(f"By {attribute}, {split}", attribute, rows, ())
    notes = [
        f"{_OF_GROUPS[key]}: {gap['best']} minus {gap['worst']} = {points(gap['difference'])} points"
        f" [{points(gap['low'])}, {points(gap['high'])}]"
        for key, gap in scores["gap"].items()
    ]
    notes = notes or [f"no difference: fewer than two groups have {MIN_IMAGES} images"]
    if scores["too_few"]:
        notes.append(f"not compared, with fewer than {MIN_IMAGES} images: {', '.join(scores['too_few'])}")
    if scores["unknown"]:
        notes.append(f"{scores['unknown']:,} images without this attribute")
    table.caption = escape("; ".join(notes))
    return table


def print_result(console: Console, metrics: Mapping[str, Any], folder: Path, pictures: Sequence[Path]) -> None:
    """Prints the summary tables of a run, from its `metrics.json`, and the paths of its record and figures."""
    console.print()
    print_fitting(console, partial(split_table, metrics), _LEAST)
    for split in metrics["splits"]:
        if split == "test" or len(metrics["splits"]) == 1:
            print_fitting(console, partial(class_table, metrics, split), ("images", "precision"))
    if any("ccc_valence" in scores for scores in metrics["splits"].values()):
        console.print(affect_table(metrics["splits"]))
    if metrics.get("elsewhere"):
        print_fitting(console, partial(other_data_table, metrics["elsewhere"]), _LEAST)
    if metrics.get("robustness"):
        console.print(corruption_table(metrics["robustness"]))
    for attribute, scores in metrics.get("fairness", {}).items():
        console.print(group_table(attribute, scores, [*metrics["splits"]][-1]))
    if "test" in metrics.get("calibration", {}):
        console.print(calibration_line(metrics["calibration"]), soft_wrap=True, highlight=False)
    # Paths stay on one line each, so that they can be copied.
    print_line(console, f"Run record: {shown_path(folder)}")
    for number, path in enumerate(pictures):
        label = "Pictures:  " if number == 0 else "           "
        print_line(console, f"{label} {shown_path(path)}")
    if command := upload_command(folder):
        print_line(console, f"W&B (offline): {shown_path(folder / 'wandb')}; to upload: {command}")


def _cells(scores: Mapping[str, Any]) -> dict[str, str]:
    """Cells of the columns `_SCORES`."""
    cells = (
        f"{scores['n']:,}",
        _interval(scores, "accuracy"),
        _percent(scores["balanced_accuracy"]),
        _percent(scores["macro_f1"]),
    )
    return dict(zip(_SCORES, cells))


def _interval(scores: Mapping[str, Any], name: str) -> str:
    low, high = 100 * scores[f"{name}_low"], 100 * scores[f"{name}_high"]
    return f"[bold]{_percent(scores[name])}[/bold] \\[{low:.1f}, {high:.1f}]"


def _percent(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:.1%}"


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


class RunBoard:
    """Line per ended run of a multirun whose runs are trained in processes beside this one, and a live table of them.

    The processes append what happens to a file (`post_event`), which a thread reads here, so that all is printed by
    one process. Where the output is no terminal, there are the lines alone.

    Args:
        names: Names of the runs, by number.
        at_once: Number of runs that are trained at once.
    """

    def __init__(self, names: Sequence[str], at_once: int) -> None:
        self._names, self._at_once = names, at_once
        self._running: dict[int, float] = {}  # when they began
        self._seconds: list[float] = []
        self._messages: set[str] = set()
        self.outcomes: dict[int, str] = {}  # why runs have no record
        self._ended = 0
        self._console = Console()
        self._folder = TemporaryDirectory(prefix="fer_multirun_")
        self.events = Path(self._folder.name) / "events"
        self.events.touch()
        self._stopped = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Prints what is left, removes the live table and ends the thread."""
        self._stopped.set()
        self._thread.join()
        self._folder.cleanup()

    def _watch(self) -> None:
        live = Live(get_renderable=self._table, console=self._console, refresh_per_second=1, transient=True)
        with live if self._console.is_terminal else nullcontext(), self.events.open(encoding="utf-8") as file:
            unfinished, last = "", False
            while not last:
                last = self._stopped.wait(0.2)
                *lines, unfinished = (unfinished + file.read()).split("\n")
                for line in lines:
                    self._note(**json.loads(line))

    def _note(self, run: int, state: str, text: str = "", seconds: float | None = None) -> None:
        """Keeps and prints an event, see `post_event`."""
        if state == "running":
            self._running[run] = perf_counter()
        elif state == "message":
            if text not in self._messages:  # what one run says of its data, the others need not repeat
                print_line(self._console, text)
            self._messages.add(text)
        else:
            self._running.pop(run, None)
            self._ended += 1
            self._seconds += [] if seconds is None else [seconds]
            if state == "failed":
                self.outcomes[run] = text
            print_line(self._console, f"[{run + 1} of {len(self._names)}] {self._names[run]}: {text}{self._left()}")

    def _left(self) -> str:
        """Estimate of the remaining time; empty if there is none."""
        if not self._seconds or self._ended == len(self._names):
            return ""
        each, now = sum(self._seconds) / len(self._seconds), perf_counter()
        running = [max(each - (now - began), 0.0) for began in [*self._running.values()]]
        waiting = each * (len(self._names) - self._ended - len(running))
        # The last runs to end have no others beside them.
        seconds = max([(sum(running) + waiting) / self._at_once, *running])
        return f"; about {duration(seconds)} left" if seconds >= 1 else ""

    def _table(self) -> Group:
        failed = f", {len(self.outcomes)} failed" if self.outcomes else ""
        count = f"{self._ended} of {len(self._names)} runs have ended{failed}{self._left()}"
        table = Table.grid(padding=(0, 2))
        table.add_column(overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        running = [*self._running.items()]
        for run, began in running[:_MOST_RUNNING]:
            table.add_row(f"  {escape(self._names[run])}", duration(perf_counter() - began))
        if more := running[_MOST_RUNNING:]:
            table.add_row(f"  and {len(more)} more", "")
        return Group(count, table)


def post_event(events: Path, run: int, state: str, text: str = "", seconds: float | None = None) -> None:
    """Appends an event of a run for the `RunBoard` of its multirun.

    Args:
        events: File of the board.
        run: Number of the run.
        state: `running`, `message`, `failed` or `done`.
        text: Message, or what became of the run.
        seconds: How long a run took that can be compared with the others.
    """
    line = json.dumps({"run": run, "state": state, "text": text, "seconds": seconds}) + "\n"
    # In one piece, because other processes write there too.
    file = os.open(events, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
