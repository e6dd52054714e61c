"""`ExpressionClassifier`, the LightningModule that trains any network with any loss."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MetricCollection

from fer_lightning.errors import UserError
from fer_lightning.evaluation.metrics import AffectMetrics, build_metrics
from fer_lightning.models.affect import ConcordanceLoss, classes_and_affect
from fer_lightning.training.description import describe
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.schedulers import one_cycle
from fer_lightning.training.trainer_options import planned_steps

OptimizerFactory = Callable[..., Optimizer]
ADAMW: OptimizerFactory = partial(AdamW, lr=1e-3, weight_decay=0.05, fused=True)


class ExpressionClassifier(pl.LightningModule):
    """Trains a network to classify facial expressions.

    Args:
        net: Maps images `(B, C, H, W)` to logits `(B, K)`; with `data.side` it also takes auxiliary vectors `(B, S)`.
        loss: Maps logits and targets to a scalar; one with `needs_features` also takes the embedding, which the
            network's `forward_features` returns and its `forward_head` turns into logits. None: cross-entropy with
            label smoothing 0.1.
        num_classes: Number K of classes. None: that of the network, if it is an architecture of this package.
        optimizer: Builds the optimizer from parameter groups.
        scheduler: Builds the learning-rate schedule from the optimizer and the number of steps; None keeps it constant.
        mixing: Mixup and CutMix of training batches; None for none.
        channels_last: Use the channels-last memory format, in which convolutions are faster.
        description: Plain values, stored in the checkpoint, from which `load_net` rebuilds the network: its config, the
            class names, the protocol and the preprocessing. None: `describe` of the network and the trainer's data
            module.
        lr: Learning rate; None for that of `optimizer`, by default 1e-3.
        affect_weight: Weight of `ConcordanceLoss`, which is added to `loss` for data with valence and arousal
            (`AffectNet(affect=True)`) and a network with `add_affect_head`.
        compile_net: Compile the network with `torch.compile`, for training and validation. The first batches then take
            a minute or more. On one core, ResNet trains at 0.9 times its speed and PsySFA-Net at 1.15 times.

    An ordinary `Trainer` trains it and resumes it by `ckpt_path`, with the `max_epochs` that the schedule was planned
    for. A resumed run has the same weights to the last bit only with the callbacks `SeedEveryBatch` and
    `LastCheckpoint`, which `fer train` uses.

    Raises:
        UserError: `num_classes` is None and the network does not define it, or `affect_weight` is negative.

    Example:
        >>> import pytorch_lightning as pl
        >>> from fer_lightning import ExpressionClassifier, ResNet
        >>> from fer_lightning.data import Synthetic
        >>> classifier = ExpressionClassifier(ResNet(num_classes=7), lr=3e-4)
        >>> trainer = pl.Trainer(max_epochs=3, accelerator="cpu")  # doctest: +SKIP
        >>> trainer.fit(classifier, Synthetic(size=6000))  # doctest: +SKIP
        >>> classifier(torch.zeros(2, 1, 48, 48)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | None = None,
        num_classes: int | None = None,
        optimizer: OptimizerFactory = ADAMW,
        scheduler: Callable[[Optimizer, int, int], LRScheduler] | None = one_cycle,
        mixing: Mixing | None = None,
        channels_last: bool = True,
        description: Mapping[str, Any] | None = None,
        lr: float | None = None,
        compile_net: bool = False,
        affect_weight: float = 1.0,
    ) -> None:
        super().__init__()
        num_classes = num_classes or getattr(net, "options", {}).get("num_classes")
        if num_classes is None:
            raise UserError(
                f"num_classes must be set for {type(net).__name__}, which is not a fer_lightning.models.Architecture."
            )
        self.net = net.to(memory_format=torch.channels_last) if channels_last else net
        self._compiled_features: Any = None
        if compile_net:
            self.net.compile()
            if features := getattr(net, "forward_features", None):
                self._compiled_features = torch.compile(features)
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.1) if loss is None else loss
        if affect_weight < 0:
            raise UserError(f"procedure.affect_weight must be at least 0; got {affect_weight}.")
        self.affect_weight = affect_weight
        self.affect_loss = ConcordanceLoss()
        self.affect_metrics = AffectMetrics()
        self.mixing = mixing
        self.description = description or {}
        self._optimizer = optimizer if lr is None else partial(optimizer, lr=lr)
        self._scheduler = scheduler
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.val_metrics = build_metrics(num_classes).clone(prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")

    @property
    def selectable(self) -> bool:
        """Whether the current epoch trains the network, so that it may be selected as the best one."""
        return True

    def forward(self, image: Tensor, *side: Tensor) -> Tensor:
        """Logits `(B, K)` of images `(B, C, H, W)` and, for networks with one, the auxiliary input `(B, S)`."""
        return self.net(image.contiguous(memory_format=self._memory_format), *side)

    def setup(self, stage: str) -> None:
        """Describes the network and the data, unless a description was passed.

        Raises:
            UserError: The data has valence and arousal, but the network no second output, or images are mixed, or the
                procedure does not train that output.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not self.description:
            self.description = describe(self.net, data, self.loss)
        if not getattr(data, "affect", False):
            return
        if not hasattr(self.net, "affect_head"):
            raise UserError("data.affect=true needs a network with a second output: call add_affect_head(net) before.")
        if type(self).training_step is not ExpressionClassifier.training_step:
            raise UserError("data.affect=true needs procedure=supervised; the others do not train a second output.")
        if self.mixing and self.mixing.methods:
            raise UserError(
                "mixing must be off with data.affect=true, because valence and arousal are not mixed: use "
                "mixing.mixup_alpha=0 mixing.cutmix_alpha=0."
            )
        self.description = {**self.description, "model": {**self.description["model"], "affect": True}}

    def on_train_epoch_start(self) -> None:
        # Lightning would repeat values of an earlier epoch, such as validation scores, where this one has none.
        self.trainer.callback_metrics.clear()

    def training_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        image, *side, target = batch
        target, affect = split_target(target)
        mixed_image, mixed_target = self.mixing(image, target) if self.mixing else (image, target)
        try:
            logits, loss = self._logits_and_loss(mixed_image, side, mixed_target, affect)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"{type(self.net).__name__} normalises over the images of a batch, so a training batch must have "
                f"at least 2; got {len(image)}: use data.batch_size=2 or more, and at least two training images."
            ) from error
        accuracy = (logits.detach().argmax(dim=1) == hard(mixed_target)).float().mean()
        values = {"train/loss": loss, "train/accuracy": accuracy}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(image))
        return loss

    def _logits_and_loss(
        self, image: Tensor, side: list[Tensor], target: Tensor, affect: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits and loss; losses with `needs_features` also get the embedding, as valence and arousal do."""
        needs_features = getattr(self.loss, "needs_features", False)
        if affect is None and not needs_features:
            logits = self(image, *side)
            return logits, self.loss(logits, target)
        net: Any = self.net
        forward_features = self._compiled_features or net.forward_features
        features = forward_features(image.contiguous(memory_format=self._memory_format), *side)
        logits = net.forward_head(features)
        loss = self.loss(logits, target, features) if needs_features else self.loss(logits, target)
        if affect is not None:
            loss = loss + self.affect_weight * self.affect_loss(net.affect_head(features), affect)
        return logits, loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        self._evaluate(batch, self.val_metrics, "val")

    def on_validation_epoch_end(self) -> None:
        self._log_scores(self.val_metrics, "val")

    def test_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        self._evaluate(batch, self.test_metrics, "test")

    def on_test_epoch_end(self) -> None:
        self._log_scores(self.test_metrics, "test")

    def _evaluate(self, batch: tuple[Tensor, ...], metrics: MetricCollection, split: str) -> None:
        image, *side, target = batch
        target, affect = split_target(target)
        if affect is None:
            logits = self(image, *side)
        else:
            image = image.contiguous(memory_format=self._memory_format)
            logits, predicted = classes_and_affect(self.net, image, *side)
            self.affect_metrics.update(predicted, affect)
        loss = nn.functional.cross_entropy(logits.float(), target)
        metrics.update(logits.float().softmax(dim=1), hard(target))
        self.log(f"{split}/loss", loss, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(image))

    def _log_scores(self, metrics: MetricCollection, split: str) -> None:
        values = metrics.compute()
        metrics.reset()
        accuracy = values.pop(f"{split}/accuracy")
        if getattr(self.trainer.datamodule, "affect", False):  # type: ignore[attr-defined]
            values |= {f"{split}/{name}": value for name, value in self.affect_metrics.compute().items()}
        self.log_dict(values)
        self.log(f"{split}/accuracy", accuracy, prog_bar=True)

    def on_validation_end(self) -> None:
        """Steps a schedule that depends on the validation loss."""
        scheduler = None if self.trainer.sanity_checking or not self.selectable else self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(self.trainer.callback_metrics["val/loss"])

    def configure_optimizers(self) -> Any:
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise UserError(
                "The network must have trainable parameters; got none: use procedure=vote for a vote of finished runs."
            )
        try:
            optimizer = self._optimizer(list(self._parameter_groups()))
            return {"optimizer": optimizer, **self._schedule(optimizer)}
        except ValueError as error:
            raise UserError(f"optimizer or scheduler: {error}") from error

    def _schedule(self, optimizer: Optimizer) -> dict[str, Any]:
        if self._scheduler is None:
            return {}
        steps = planned_steps(self.trainer)
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        scheduler = self._scheduler(optimizer, steps, steps_per_epoch)
        if isinstance(scheduler, ReduceLROnPlateau):
            # Lightning would step it after the checkpoint was saved, and a resumed run would lack that step.
            return {"lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", "frequency": sys.maxsize}}
        return {"lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Steps the schedule.

        Raises:
            UserError: It ended before the training, as where a run is resumed with more epochs than it began with.
        """
        try:
            super().lr_scheduler_step(scheduler, metric)
        except ValueError as error:
            raise UserError(
                "The learning-rate schedule must cover the whole training, and it has ended: resume with the "
                "max_epochs that the run began with, or start a new run from these weights."
            ) from error

    def _parameter_groups(self) -> Iterator[dict[str, Any]]:
        """Weights, and in a group without weight decay the biases and the parameters of normalisation layers."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        yield {"params": [parameter for parameter in trainable if parameter.ndim > 1]}
        if plain := [parameter for parameter in trainable if parameter.ndim <= 1]:
            yield {"params": plain, "weight_decay": 0.0}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips the gradient by its norm, or by value where `gradient_clip_algorithm` is `"value"`.

        As in Lightning, 0 and negative values turn clipping off.
        """
        if gradient_clip_val is None or gradient_clip_val <= 0:
            return
        # Lightning does not clip for fused optimizers, which unscale fp16 gradients in their step; torch allows
        # unscaling them before.
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        clip = clip_grad_value_ if gradient_clip_algorithm == "value" else clip_grad_norm_
        clip(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["description"] = dict(self.description)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that a run is resumed on the data that it was started on.

        Raises:
            UserError: The images, labels or splits have changed.
        """
        before, now = (whose.get("protocol", {}) for whose in (checkpoint["description"], self.description))
        if before.get("fingerprint") != now.get("fingerprint"):
            raise UserError(
                f"The data must be what this run was started on (fingerprint {before.get('fingerprint')}); got "
                f"{now.get('fingerprint')}: restore the former data, or start a new run."
            )


def split_target(target: Any) -> tuple[Tensor, Tensor | None]:
    """Usual target of a batch, and valence and arousal (B, 2) or None (see `with_affect`)."""
    return (target[0], target[1]) if isinstance(target, (tuple, list)) else (target, None)


def hard(target: Tensor) -> Tensor:
    """Class indices (B,) of targets: class indices unchanged, the likeliest class of label distributions (B, K).

    Of labels and a teacher's probabilities (B, 2, K), those of the labels.
    """
    if target.ndim == 3:
        target = target[:, 0]
    return target if target.ndim == 1 else target.argmax(dim=1)
