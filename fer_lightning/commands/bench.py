"""`fer bench`: training against a plain loop, loading against the net, HAFEM against its backbone, and samplers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

import albumentations
import pandas as pd
import torch
from hydra.utils import get_class
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from fer_lightning.bench_latency import bench_latency
from fer_lightning.bench_search import bench_search
from fer_lightning.commands.instantiate import build, build_classifier, build_datamodule, build_net, build_trainer, limit_threads, resolve_precision
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.benchmark.training import ArrayDataset, plain_epoch
from fer_lightning.files import write_whole
from fer_lightning.training.classifier import ExpressionClassifier
from fer_lightning.training.callbacks import History
from fer_lightning.results.record import describe_hardware
from fer_lightning.training.seeding import SeedEveryBatch

log = logging.getLogger(__name__)

PARTS = {  # what each measures, and for how long on two cores
    "training": "fer train against a plain PyTorch loop; loading against the net: two minutes",
    "latency": "HAFEM against its bare backbone: a minute",
    "search": "samplers against each other on problems with known optima: twenty minutes",
    "all": "one after the other",
}


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
