"""`fer bench`: training against a plain loop, loading against the net, HAFEM against its backbone, and samplers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import albumentations
import pandas as pd
import torch
from hydra.utils import get_class
from joblib import Parallel, delayed, parallel_config
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from fer_lightning.benchmark.output import draw_search_ranks
from fer_lightning.benchmark.samplers import median_regrets, rank_samplers
from fer_lightning.benchmark.training import ArrayDataset, plain_epoch
from fer_lightning.commands.instantiate import (
    build,
    build_classifier,
    build_datamodule,
    build_net,
    build_trainer,
    compose_net,
    limit_threads,
    resolve_precision,
)
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import describe_hardware, latency
from fer_lightning.files import write_whole
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import escape
from fer_lightning.training.callbacks import History, SeedEveryBatch
from fer_lightning.training.classifier import ExpressionClassifier

if TYPE_CHECKING:
    from fer_lightning.benchmark.samplers import Course

log = logging.getLogger(__name__)
PARTS = {  # what each measures, and for how long on two cores
    "training": "fer train against a plain PyTorch loop; loading against the net: two minutes",
    "latency": "HAFEM against its bare backbone: a minute",
    "search": "samplers against each other on problems with known optima: twenty minutes",
    "all": "one after the other",
}
NUM_CLASSES = 7
KEYS = ["sampler", "problem", "seed", "budget"]


def run(cfg: DictConfig) -> None:
    """Measures, prints and writes `bench.csv`, `latency.csv` and `benchmark.csv`, each where its part is asked for.

    Args:
        cfg: Composed from `conf/bench.yaml`; without a part, the parts are listed and nothing is measured.
    """
    if cfg.part is None:
        print("fer bench measures the part that is named:")
        for name, told in PARTS.items():
            print(f"  fer bench part={name:<10}{told}")
        return
    if cfg.part not in PARTS:
        raise UserError(f"part={cfg.part} is unknown: use one of {', '.join(PARTS)}.")
    if torch.cuda.is_available() and cfg.trainer.accelerator != "cpu":
        raise UserError("fer bench measures the CPU: add trainer=cpu.")
    if cfg.data.side != "none" or getattr(get_class(cfg.loss._target_), "needs_features", False):
        raise UserError("fer bench knows nets and losses of images alone: use another model or loss.")
    if get_class(cfg.procedure._target_) is not ExpressionClassifier:
        raise UserError("fer bench compares the plain procedure with a plain loop: use procedure=supervised.")
    limit_threads(cfg)
    if cfg.part in ("training", "all"):
        bench_training(cfg)
    if cfg.part in ("latency", "all"):
        bench_latency(cfg)
    if cfg.part in ("search", "all"):
        bench_search(cfg)


def bench_training(cfg: DictConfig) -> None:
    """Times training.

    Every round trains the same number of batches with the trainer of `fer train` and with the plain loop, one after the
    other, so that a noisy machine disturbs both alike.

    Args:
        cfg: Composed from `conf/bench.yaml`.
    """
    datamodule = build_datamodule(cfg)
    images = cfg.batches * cfg.data.batch_size
    if images > datamodule.protocol.counts["train"]:
        most = datamodule.protocol.counts["train"] // cfg.data.batch_size
        raise UserError(f"batches={cfg.batches} is more than an epoch: use {most} at most.")
    rows = []
    for number in range(cfg.rounds):
        seconds = {
            "fer train": _lightning_seconds(cfg, datamodule),
            "plain loop": _plain_seconds(cfg, datamodule),
            "net alone": _net_seconds(cfg, datamodule),
            "loader alone": _loader_seconds(cfg, datamodule),
        }
        rows.append({name: images / value for name, value in seconds.items()})
        log.info(
            "round %d/%d: %s images/s", number + 1, cfg.rounds, {name: round(value) for name, value in rows[-1].items()}
        )
    rates = pd.DataFrame(rows)
    folder = Path(cfg.output_dir)
    write_whole(folder / "bench.csv", lambda path: rates.to_csv(path, index_label="round", float_format="%.1f"))
    Console().print(_table(rates, describe_hardware(torch.device("cpu"), _precision(cfg))))


def _precision(cfg: DictConfig) -> str:
    return resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)


def _table(rates: pd.DataFrame, hardware: dict[str, object]) -> Table:
    title = (
        f"Images per second, median of {len(rates)} rounds, {hardware['threads']} thread(s), {hardware['precision']}"
    )
    table = Table("what", "images/s", title=title)
    for name in rates:
        table.add_row(str(name), f"{rates[name].median():,.0f}")
    table.add_section()
    training = (rates["fer train"] / rates["plain loop"]).median()
    loading = (rates["loader alone"] / rates["net alone"]).median()
    table.add_row("fer train : plain loop", f"{training:.2f} x")
    table.add_row("loader alone : net alone", f"{loading:.1f} x")
    return table


def _lightning_seconds(cfg: DictConfig, datamodule: ExpressionDataModule) -> float:
    classifier = build_classifier(cfg, build_net(cfg, len(datamodule.label_set)), datamodule)
    history = History()
    trainer = build_trainer(cfg, [SeedEveryBatch(cfg.seed), history], [])
    trainer.fit(classifier, datamodule=datamodule)
    return history.rows[-1]["train_seconds"]


def _plain_seconds(cfg: DictConfig, datamodule: ExpressionDataModule) -> float:
    source = datamodule.dataset("train")
    pixels = source.pixels(range(len(source)))
    pipeline = albumentations.Compose(datamodule.transforms)
    dataset = ArrayDataset(pixels, source.targets.numpy(), pipeline, cfg.data.mean[0], cfg.data.std[0])
    loader = DataLoader(dataset, cfg.data.batch_size, shuffle=True, drop_last=True, num_workers=cfg.data.num_workers)
    return _plain_epoch_seconds(cfg, datamodule, loader)


def _net_seconds(cfg: DictConfig, datamodule: ExpressionDataModule) -> float:
    """Forward, backward and step on one batch over and over: what the net could take if data were free."""
    image, target = next(iter(datamodule.eval_dataloader("train")))
    batch = (image[: cfg.data.batch_size], target[: cfg.data.batch_size])
    return _plain_epoch_seconds(cfg, datamodule, [batch] * cfg.batches)


def _plain_epoch_seconds(
    cfg: DictConfig, datamodule: ExpressionDataModule, loader: Iterable[tuple[Tensor, Tensor]]
) -> float:
    net = build_net(cfg, len(datamodule.label_set))
    net = net.to(memory_format=torch.channels_last) if cfg.channels_last else net
    optimizer = build(cfg.optimizer, fused=None)(net.parameters())  # torch's own default, as scripts have it
    scheduler = build(cfg.scheduler)(optimizer, cfg.batches, cfg.batches)
    bf16 = _precision(cfg).startswith("bf16")
    return plain_epoch(net, optimizer, scheduler, loader, cfg.batches, bf16, cfg.trainer.gradient_clip_val)


def _loader_seconds(cfg: DictConfig, datamodule: ExpressionDataModule) -> float:
    started = perf_counter()
    for _ in zip(range(cfg.batches), datamodule.train_dataloader()):
        pass
    return perf_counter() - started


def bench_latency(cfg: DictConfig) -> None:
    """Times each net whole and without its attention, interleaved; prints the medians and writes `latency.csv`.

    Args:
        cfg: Composed from `conf/bench.yaml`.
    """
    nets, inputs = {}, {}
    for name, options in cfg.latency.nets.items():
        for title, overrides in ((name, options), (_bare(name), [*options, *cfg.latency.bare])):
            nets[title], inputs[title] = compose_net("bench", overrides, NUM_CLASSES)
    times = latency(nets, inputs, track(range(cfg.latency.rounds), description="Timing", transient=True))
    write = Path(cfg.output_dir) / "latency.csv"
    write_whole(write, lambda path: times.to_csv(path, index_label="round", float_format="%.3f"))
    Console().print(_latency_table(times, list(cfg.latency.nets)))


def _bare(name: str) -> str:
    return f"{name} without attention"


def _latency_table(times: pd.DataFrame, names: list[str]) -> Table:
    table = Table("net", "ms", title=f"One picture, median of {len(times)} rounds, 1 thread, float32")
    for column in times:
        table.add_row(escape(column), f"{times[column].median():.1f}")
    table.add_section()
    for name in names:
        ratio = (times[name] / times[_bare(name)]).median()
        table.add_row(escape(f"{name} : without attention"), f"{ratio:.3f} x")
    return table


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
    Console().print(_rank_table(ranks, len(cfg.search.problems), cfg.search.seeds))


def _studies(options: DictConfig) -> Iterator[Study]:
    """Yields every study; one sampler after the other, since they differ most in what they cost."""
    from fer_lightning.benchmark.problems import PROBLEMS
    from fer_lightning.benchmark.samplers import CONTESTANTS

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


def _rank_table(ranks: pd.DataFrame, problems: int, seeds: int) -> Table:
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
