"""Third part of `fer bench`: samplers against each other on problems whose optimum is known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from joblib import Parallel, delayed, parallel_config
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fer_lightning.errors import UserError
from fer_lightning.report.figures import save_figures
from fer_lightning.report.search_bench import draw_search_ranks
from fer_lightning.report.search_ranks import median_regrets, rank_samplers
from fer_lightning.report.terminal import escape
from fer_lightning.files import write_whole

if TYPE_CHECKING:
    from fer_lightning.benchmark.samplers import Course

KEYS = ["sampler", "problem", "seed", "budget"]


class Study(NamedTuple):
    """One run of a sampler.

    Attributes:
        sampler: Name of a contestant.
        problem: Name of a problem.
        seed: Of both.
        budgets: Evaluations after which the regret is read off, rising; the last one ends the study.
    """

    sampler: str
    problem: str
    seed: int
    budgets: tuple[int, ...]


def bench_search(cfg: DictConfig) -> None:
    """Runs every sampler on every problem with every seed; prints the ranks and writes what was measured.

    `benchmark.csv` is written after every study, and studies that it has are not run again: a benchmark that was
    stopped goes on with the same `output_dir`. At the end come `regrets.csv`, `ranks.csv` and `ranks.png`.

    Args:
        cfg: Composed from `conf/bench.yaml`.

    Raises:
        UserError: A sampler or problem is unknown.
    """
    folder = Path(cfg.output_dir)
    studies = list(_studies(cfg.search))
    wanted = pd.DataFrame([(*study[:3], budget) for study in studies for budget in study.budgets], columns=KEYS)
    results = _run(studies, folder / "benchmark.csv", cfg.search.workers or os.cpu_count() or 1)
    results = wanted.merge(results, on=KEYS)
    ranks, regrets = rank_samplers(results), median_regrets(results)
    write_whole(folder / "regrets.csv", lambda path: regrets.to_csv(path, float_format="%.3g"))
    write_whole(folder / "ranks.csv", lambda path: ranks.to_csv(path, index=False, float_format="%.3g"))
    save_figures(folder, {"ranks": draw_search_ranks(ranks)})
    Console().print(_table(ranks, len(cfg.search.problems), cfg.search.seeds))


def _studies(options: DictConfig) -> Iterator[Study]:
    """Yields every study; one sampler after the other, since they differ most in what they cost."""
    from fer_lightning.benchmark.samplers import CONTESTANTS
    from fer_lightning.benchmark.problems import PROBLEMS

    for option, names, known in (
        ("samplers", options.samplers, CONTESTANTS),
        ("problems", options.problems, PROBLEMS),
        ("most", options.most, CONTESTANTS),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"search.{option} has {name}, which is unknown: use any of {', '.join(known)}.")
    for sampler in options.samplers:
        most = options.most.get(sampler, max(options.budgets))
        budgets = tuple(sorted(budget for budget in options.budgets if budget <= most))
        lengths = [(budget,) for budget in budgets] if CONTESTANTS[sampler].knows_the_end else [budgets]
        for problem in options.problems:
            for seed in range(options.seeds):
                yield from (Study(sampler, problem, seed, length) for length in lengths if length)


def _run(studies: list[Study], file: Path, workers: int) -> pd.DataFrame:
    """Runs what `file` does not have yet, a study on a core, and returns all it has then."""
    from fer_lightning.benchmark.samplers import compete

    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=[*KEYS, "regret", "ask_ms"])
    done = set(table[KEYS].itertuples(index=False, name=None))
    left = [study for study in studies if (*study[:3], study.budgets[-1]) not in done]
    rows = table.to_dict("records")
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        courses = Parallel(return_as="generator")(
            delayed(compete)(study.sampler, study.problem, study.seed, study.budgets[-1]) for study in left
        )
        for study, course in zip(left, track(courses, "Searching", total=len(left), transient=True)):
            rows += _rows(study, course)
            table = pd.DataFrame(rows)
            write_whole(file, partial(table.to_csv, index=False, float_format="%.4g"))
    return table


def _rows(study: Study, course: Course) -> list[dict[str, object]]:
    return [
        {
            **dict(zip(KEYS, (*study[:3], budget))),
            "regret": course.regret[budget - 1],
            "ask_ms": 1000 * course.ask_seconds[:budget].mean(),
        }
        for budget in study.budgets
    ]


def _table(ranks: pd.DataFrame, problems: int, seeds: int) -> Table:
    table = Table(title=f"Mean rank of the median regret on {problems} problems, {seeds} seeds")
    table.add_column("evaluations", justify="right")
    table.add_column("sampler")
    for heading in ("mean rank", "95 % of redrawn seeds", "ms CPU an ask"):
        table.add_column(heading, justify="right")
    for budget, rows in ranks.groupby("budget"):
        for row in rows.itertuples():
            interval = f"{row.low:.1f} to {row.high:.1f}"
            table.add_row(str(budget), escape(row.sampler), f"{row.mean_rank:.1f}", interval, f"{row.ask_ms:.2f}")
        table.add_section()
    return table
