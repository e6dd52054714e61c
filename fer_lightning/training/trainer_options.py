"""Options of Lightning's trainer that `fer train` supports, and their values.

With these, history, record and `best.ckpt` agree, and a resumed run equals an uninterrupted one. Other values are
refused before any data is read.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, RichProgressBar
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fer_lightning.errors import UserError


def _whole(least: int, also: tuple[object, ...] = ()) -> Callable[[Any], bool]:
    """Predicate of integers of at least `least` and of the values in `also`."""
    return lambda value: value in also or (type(value) is int and value >= least)


def _only(*values: object) -> Callable[[Any], bool]:
    """Predicate of `values`, by type as well: 1 is one batch, 1.0 is all batches."""
    return lambda value: any(type(value) is type(allowed) and value == allowed for allowed in values)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_ALL_IMAGES = "scores in the record are those of all images of a split: use 1.0"
# By option: whether a value is supported, and the message if it is not. Options that are not listed change neither the
# training nor the record, or are checked by Lightning.
SUPPORTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_epochs": (_whole(1, also=(-1,)), "No epoch was trained: use a positive integer, or -1 for no limit"),
    "min_epochs": (_whole(0, also=(None,)), "use an integer of at least 0"),
    "max_steps": (_whole(1, also=(-1,)), "use a positive integer, or -1 for no limit"),
    "min_steps": (_whole(0, also=(None,)), "use an integer of at least 0"),
    "limit_train_batches": (
        lambda value: (type(value) is int and value >= 1) or (isinstance(value, float) and 0 < value <= 1),
        "use a positive number of batches, or a share of them between 0.0 and 1.0",
    ),
    "limit_val_batches": (
        _only(None, 1.0),
        "No epoch was trained and validated in a way that the record could repeat, because the best epoch is chosen on "
        "the whole validation split: use 1.0; data.val_fraction changes its size",
    ),
    "limit_test_batches": (_only(None, 1.0), _ALL_IMAGES),
    "limit_predict_batches": (_only(None, 1.0), _ALL_IMAGES),
    "overfit_batches": (_only(0, 0.0), "it would validate on part of the split: use trainer.limit_train_batches"),
    "fast_dev_run": (
        _only(False, 0, None),
        "it keeps no checkpoint, and a run record needs one: use trainer.max_epochs=1 trainer.limit_train_batches=1",
    ),
    "val_check_interval": (
        _only(None, 1.0),
        "the best epoch is chosen by the weights at its end, so validation comes then: use 1.0",
    ),
    "check_val_every_n_epoch": (_whole(1), "use an integer of at least 1"),
    "num_sanity_val_steps": (_whole(-1), "use an integer of at least 0, or -1 for all batches"),
    "accumulate_grad_batches": (_whole(1), "use an integer of at least 1"),
    "gradient_clip_val": (
        lambda value: value is None or (type(value) in (int, float) and math.isfinite(value)),
        "use a number; 0, a negative one and null disable clipping",
    ),
    "gradient_clip_algorithm": (_only(None, "norm", "value"), "use norm or value"),
    "reload_dataloaders_every_n_epochs": (_only(1), "each epoch has its own order and augmentation: use 1"),
    "use_distributed_sampler": (_only(False), "the data module distributes the images itself: use false"),
    "enable_checkpointing": (_only(True), "a run record needs its checkpoints: use true"),
    "barebones": (_only(False), "it keeps neither checkpoints nor scores: use false"),
    "logger": (lambda value: False, "use logger=..., such as logger=csv"),
    "callbacks": (lambda value: False, "use callbacks=..., such as callbacks=early_stopping"),
}


def check_trainer(options: Mapping[str, Any]) -> None:
    """Checks the options of the trainer, see `SUPPORTED`.

    Raises:
        UserError: An option has a value that is not supported.
    """
    for name, (is_supported, instead) in SUPPORTED.items():
        if name in options and not is_supported(options[name]):
            raise UserError(f"trainer.{name}={options[name]} is not supported. {instead[0].upper()}{instead[1:]}.")


def check_devices(options: Mapping[str, Any], multirun: bool) -> None:
    """Checks that the devices and the strategy of a trainer can be used, in a multirun by each of its runs.

    Raises:
        UserError: The strategy forks or spawns, there is no GPU, or a multirun would need several processes for a run.
    """
    strategy, devices, accelerator = str(options["strategy"]), options["devices"], options["accelerator"]
    if "spawn" in strategy or "fork" in strategy or "notebook" in strategy:
        raise UserError(f"trainer.strategy={strategy} leaves no trained state in this process: use trainer=ddp.")
    if accelerator in ("gpu", "cuda") and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise UserError(
            f"trainer.accelerator={accelerator} needs a GPU, and PyTorch finds none here: use trainer=cpu, or "
            "trainer=auto, which uses a GPU if there is one."
        )
    listed = isinstance(devices, Sequence) and not isinstance(devices, str)
    several = (len(devices) if listed else devices) != 1 or options["num_nodes"] != 1
    if several and multirun:
        raise UserError(
            f"trainer.devices={devices} starts processes that repeat the command line, which in a multirun would "
            "repeat the whole sweep: start the runs one by one, or give each one device with trainer.devices=1."
        )


def resolve_precision(precision: str, accelerator: str) -> str:
    """Precision of a trainer; for `auto`, mixed precision on devices that compute in it, otherwise float32."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"


def keep_freed_memory() -> None:
    """Makes the C library reuse freed memory for the tensors of the next batch; without glibc it does nothing.

    glibc returns large blocks to the operating system, which clears their pages whenever they are allocated again: on
    one core a tenth of the training time of ResNet, and a fifth of that of EfficientNet-Lite0. The process then holds
    on to the most memory that it needed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 << 20)):
            mallopt(parameter, value)


class StopAfterSteps(pl.Callback):
    """Ends training after a number of optimizer steps; the last, shorter epoch is validated and saved.

    Lightning's `max_steps` does not validate that epoch, and repeats it when the run is resumed.

    Args:
        max_steps: Optimizer steps of the whole run.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_at_limit(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        self._stop_at_limit(trainer)

    def _stop_at_limit(self, trainer: pl.Trainer) -> None:
        if trainer.global_step >= self.max_steps:
            # Lightning would continue until these minima are reached.
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, 0
            trainer.should_stop = True


def planned_steps(trainer: pl.Trainer) -> int:
    """Optimizer steps until `max_epochs` or `max_steps` ends training, whichever comes first.

    Raises:
        UserError: Neither of them is set.
    """
    trainer.fit_loop.setup_data()  # estimated_stepping_batches omits it if there is no last epoch
    limits = [callback.max_steps for callback in trainer.callbacks if isinstance(callback, StopAfterSteps)]  # type: ignore[attr-defined]
    steps = min([trainer.estimated_stepping_batches, *limits])
    if math.isinf(steps):
        raise UserError(
            "A schedule needs trainer.max_epochs or trainer.max_steps; got -1 for both: use scheduler=constant."
        )
    return int(steps)


class MovingAverage(EMAWeightAveraging):
    """Lightning's moving average of the weights, on the device of the training.

    Lightning creates it before the network is moved to the GPU, so that every step would copy all weights to the CPU.

    Args:
        decay: Share of the average that a step keeps.
        use_buffers: Average the statistics of batch normalisation as well.
        options: Other options of Lightning's callback.
    """

    def __init__(self, decay: float = 0.999, use_buffers: bool = True, **options: Any) -> None:
        super().__init__(decay=decay, use_buffers=use_buffers, **options)
        self._kwargs = {"multi_avg_fn": get_ema_multi_avg_fn(decay)}  # one operation for all weights

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = self._device or trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


class EpochBar(RichProgressBar):
    """Lightning's progress bar, which counts epochs from 1 as the logs do, without the number of the logger's version.

    Args:
        leave: Whether finished bars stay in the terminal.
    """

    def __init__(self, leave: bool = False) -> None:
        super().__init__(leave=leave)

    def _stop_progress(self) -> None:  # with leave=False, Lightning leaves the last bar
        if self.progress is not None and not self._leave:
            self.progress.live.transient = True
        super()._stop_progress()

    def _get_train_description(self, current_epoch: int) -> str:  # Lightning has no public one
        of = f" of {self.trainer.max_epochs}" if (self.trainer.max_epochs or -1) > 0 else ""
        return f"epoch {current_epoch + 1}{of}".ljust(len(self.validation_description))

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
