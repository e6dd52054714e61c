"""Weighted voting as a training procedure: finished runs are loaded, and their vote weights fitted on validation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from fer_lightning.errors import UserError
from fer_lightning.results.protocol import Protocol
from fer_lightning.training.checkpoints import TrainedNet, load_net
from fer_lightning.training.classifier import ExpressionClassifier, hard

log = logging.getLogger(__name__)

TOLERANCE = 1e-6  # nats per image
MAX_STEPS = 10_000


def load_members(
    checkpoints: Sequence[str], protocol: Protocol, preprocessing: Mapping[str, object]
) -> list[TrainedNet]:
    """Loads the networks that vote.

    Args:
        checkpoints: Run folders or `.ckpt` files.
        protocol: What the vote is fitted and scored under.
        preprocessing: What the images go through before the vote sees them.

    Raises:
        UserError: A file is no checkpoint; or a member was trained under another protocol, which could have shown it
            test images of this one, or with another preprocessing, or on more than images.
    """
    members = [load_net(Path(checkpoint)) for checkpoint in checkpoints]
    for checkpoint, member in zip(checkpoints, members):
        own = member.description["preprocessing"]
        if own["side"] != "none":
            raise UserError(
                f"model.checkpoints: {checkpoint} needs {own['side']} besides the image, and a vote passes on images "
                "alone: leave it away."
            )
        if names := [name for name, value in preprocessing.items() if value != own[name]]:
            wanted = " ".join(f"data.{name}={own[name]}" for name in names)
            raise UserError(
                f"model.checkpoints: {checkpoint} was trained with {wanted}, unlike this vote: give the same here, "
                "and let only runs vote that agree in it."
            )
        if names := Protocol.from_dict(member.description["protocol"]).differences(protocol):
            raise UserError(
                f"model.checkpoints: {checkpoint} was trained under another protocol than this vote "
                f"(other {', '.join(names)}): let only runs vote that saw the same data, split and selection."
            )
    return members


def fit_weights(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Weights on the simplex under which the weighted mean of the members explains the targets best.

    Maximises `L(w) = mean_n sum_k t_nk log sum_m w_m p_nmk` by expectation maximisation: each weight becomes the mean
    share that its member had in the vote for what was true. `L` is concave, so there is one best value; no step lowers
    it or leaves the simplex, and there is no step size to choose. What is left to gain is at most `g - 1` with the
    largest gradient `g = max_m dL/dw_m`: below `TOLERANCE` it stops, after `MAX_STEPS` in any case.

    Args:
        log_probabilities: Of N images, M members and K classes, (N, M, K).
        target: Class indices (N,) or label distributions (N, K).

    Returns:
        (M,), summing to one, float64.
    """
    count, members, classes = log_probabilities.shape
    truth = nn.functional.one_hot(target, classes) if target.ndim == 1 else target
    truth = truth.double() / count
    importance = truth[truth > 0]
    given = log_probabilities.double().transpose(1, 2)[truth > 0]
    # A common factor of all members changes no share, and would else underflow where all were sure and wrong.
    likelihoods = (given - given.amax(dim=1, keepdim=True)).exp()
    weights = torch.full((members,), 1 / members, dtype=torch.float64, device=likelihoods.device)
    for _ in range(MAX_STEPS):
        gradient = (importance / (likelihoods @ weights)) @ likelihoods
        if gradient.max() - 1 < TOLERANCE:
            break
        weights = weights * gradient
    return weights / weights.sum()


class VoteFitting(ExpressionClassifier):
    """Fits the weights of `WeightedVoting` on the validation split, and reports the validation scores of that vote.

    Nothing is learned from training images: one batch of them is scored, with equal weights, because every run has a
    training score. The fit is over after one epoch, whatever the trainer was asked for. Its validation scores are those
    of the images that the weights were fitted on; the test split stays untouched as in every run.
    """

    def setup(self, stage: str) -> None:
        """Refuses what a vote cannot be fitted with, and makes the epoch as short as Lightning allows.

        Raises:
            UserError: The network does not vote; several devices; weights that are averaged over steps.
        """
        if not hasattr(self.net, "member_log_probabilities"):
            raise UserError(
                f"procedure=vote fits the weights of a vote, and {type(self.net).__name__} is none: use "
                "model=weighted_voting, or procedure=supervised."
            )
        if self.trainer.world_size > 1:
            raise UserError("procedure=vote fits a handful of numbers within one process: use trainer.devices=1.")
        if any(isinstance(callback, WeightAveraging) for callback in self.trainer.callbacks):  # type: ignore[attr-defined]
            raise UserError("procedure=vote takes no steps whose weights could be averaged: leave callbacks=ema away.")
        super().setup(stage)
        self.trainer.limit_train_batches = 1
        self.trainer.fit_loop.max_epochs = 1
        self._seen: list[tuple[Tensor, Tensor]] = []

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        image, target = batch
        image = image.contiguous(memory_format=self._memory_format)
        self._seen.append((self._voting.member_log_probabilities(image), target))

    def on_validation_epoch_end(self) -> None:
        log_probabilities, target = (torch.cat(parts) for parts in zip(*self._seen))
        self._seen.clear()
        self._voting.weights.copy_(fit_weights(log_probabilities.cpu(), target.cpu()))
        told = ", ".join(f"{weight:.3f}" for weight in self._voting.weights.tolist())
        log.info("vote weights, in the order of model.checkpoints: %s", told)
        votes = self._voting.vote(log_probabilities)
        self.val_metrics.update(votes.softmax(dim=1), hard(target))
        self.log("val/loss", nn.functional.cross_entropy(votes, target), prog_bar=True)
        super().on_validation_epoch_end()

    def configure_optimizers(self) -> Any:
        """One that does nothing, because Lightning wants one."""
        return SGD([self._voting.weights], lr=0.0)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Nothing: all members are frozen."""

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Scores the training batch, and takes no step."""
        assert optimizer_closure is not None
        optimizer_closure()

    @property
    def _voting(self) -> Any:
        """The network; not typed, because networks are unknown to this part of the house."""
        return self.net
