"""Options of Lightning's trainer, one to three at once: history and `best.ckpt` agree, or a sentence refuses."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fer_lightning.commands.instantiate import build_trainer
from fer_lightning.errors import UserError
from fer_lightning.training.callbacks import (
    BestCheckpoint,
    History,
    LastCheckpoint,
    StopAfterDivergence,
)
from fer_lightning.training.classifier import ExpressionClassifier
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.schedulers import one_cycle, plateau
from fer_lightning.training.trainer_options import check_trainer

NUMBERS = [-2, -1, 0, 1, 2, 3, 5, 100, 0.0, 0.3, 0.5, 1.0, 1.5, -0.5, math.nan, math.inf, None, True, False, "two"]
VALUES: dict[str, list[Any]] = {
    **dict.fromkeys(
        (
            "limit_train_batches",
            "limit_val_batches",
            "limit_predict_batches",
            "overfit_batches",
            "val_check_interval",
            "check_val_every_n_epoch",
            "num_sanity_val_steps",
            "accumulate_grad_batches",
            "gradient_clip_val",
            "fast_dev_run",
            "min_epochs",
            "min_steps",
            "max_steps",
            "reload_dataloaders_every_n_epochs",
        ),
        NUMBERS,
    ),
    "max_epochs": [0, -2, 1, 2, 3, 4, 1.5, None],
    "max_time": [None, "00:00:00:00", "00:01:00:00", "soon", {"hours": 1}, {"years": 1}],
    "gradient_clip_algorithm": [None, "norm", "value", "both", 1],
    "use_distributed_sampler": [True, False, None],
    "enable_checkpointing": [True, False],
    "barebones": [True, False],
    "inference_mode": [True, False],
    "detect_anomaly": [True, False],
    "deterministic": [True, False, "warn"],
    "log_every_n_steps": [0, 1, 50],
}
IMAGES = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(10) % 3
VALIDATION = slice(1, 10)


@dataclass
class Fit:
    history: list[dict[str, float]]
    best: dict[str, Any]
    batches: int
    steps: int


class Faces(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(IMAGES, TARGETS), batch_size=2)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(IMAGES[VALIDATION], TARGETS[VALIDATION]), batch_size=4)


class Count(pl.Callback):
    batches = 0

    def on_train_batch_start(self, *_: object) -> None:
        self.batches += 1


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def fit(options: dict[str, Any], scheduler: Any, folder: Path) -> Fit:
    check_trainer(options)
    history, count = History(), Count()
    best = BestCheckpoint(folder, "val/accuracy", "max")
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": str(folder)}
    fixed = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "precision": "32-true"}
    cfg = OmegaConf.create({"trainer": {**fixed, **quiet, "max_epochs": 3, **options}})
    classifier = ExpressionClassifier(
        net=net(),
        loss=nn.CrossEntropyLoss(),
        num_classes=3,
        optimizer=functools.partial(torch.optim.SGD, lr=0.05),
        scheduler=scheduler,
        mixing=Mixing(0.0, 0.0, 1.0, 3),
        channels_last=False,
        description={"classes": ["a", "b", "c"]},
    )
    try:
        trainer = build_trainer(cfg, [count, history, StopAfterDivergence(), best, LastCheckpoint(folder)], [])
        trainer.fit(classifier, datamodule=Faces())
    except MisconfigurationException as error:
        raise UserError(f"trainer: {error}") from error
    best.require_selected(history.rows)
    selected = torch.load(folder / "best.ckpt", weights_only=True)
    return Fit(history.rows, selected, count.batches, trainer.global_step)


def agrees(result: Fit, options: dict[str, Any]) -> bool:
    """Whether the history tells what was trained, and scores the epoch of `best.ckpt` as its weights do."""
    selected = net()
    selected.load_state_dict({name[4:]: value for name, value in result.best["state_dict"].items()})
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(selected(IMAGES[VALIDATION]), TARGETS[VALIDATION]))
    row = result.history[result.best["epoch"]]
    best = max(row["val/accuracy"] for row in result.history if "val/accuracy" in row)
    limit = options.get("max_steps", -1)
    return (
        sum(row["images"] for row in result.history) == 2 * result.batches
        and math.isclose(row["val/loss"], loss, rel_tol=1e-4)
        and row["val/accuracy"] == best
        and (limit == -1 or result.steps <= limit)
    )


def test_trainer_options(campaign, tmp_path):
    for case, rng in campaign.cases(quick=12, full=400):
        names = rng.choice(list(VALUES), size=int(rng.integers(1, 4)), replace=False)
        options = {str(name): VALUES[name][rng.integers(len(VALUES[name]))] for name in names}
        schedule = [
            None,
            functools.partial(one_cycle, rise_share=0.25),
            functools.partial(plateau, factor=0.5, patience=0),
        ][case % 3]
        campaign.judge(
            (case, options),
            lambda options=options, schedule=schedule, case=case: fit(options, schedule, tmp_path / str(case)),
            named="rainer",
            accepts=lambda result, options=options: agrees(result, options),
        )
