"""Weighted voting as a training procedure: the weights of finished runs are fitted on the validation split."""

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
    checkpoints: Sequence[str],
    protocol: Protocol,
    preprocessing: Mapping[str, object],
    option: str = "model.checkpoints",
    whole: str = "the vote",
) -> list[TrainedNet]:
    """Loads the members of a vote, or the teachers of a network.

    Args:
        checkpoints: Run folders or `.ckpt` files.
        protocol: Protocol that the whole is fitted and scored under.
        preprocessing: Preprocessing that the members must have; empty for any.
        option: Name of the option that lists them, for messages.
        whole: What they are members of, for messages.

    Raises:
        UserError: A file is not a checkpoint; or a member has another protocol, under which it may have been trained on
            test images of this one, another preprocessing, or an auxiliary input.
    """
    members = [load_net(Path(checkpoint)) for checkpoint in checkpoints]
    for checkpoint, member in zip(checkpoints, members):
        expected = member.description["preprocessing"]
        if expected["side"] != "none":
            raise UserError(
                f"{option} must be networks that take images only; {checkpoint} also takes {expected['side']}: omit it."
            )
        if names := [name for name, value in preprocessing.items() if value != expected[name]]:
            options = " ".join(f"data.{name}={expected[name]}" for name in names)
            raise UserError(
                f"{option} must have the preprocessing of {whole}; {checkpoint} was trained with "
                f"{options}: use the same options here, and only runs that agree in them."
            )
        if names := Protocol.from_dict(member.description["protocol"]).differences(protocol):
            raise UserError(
                f"{option} must have the protocol of {whole}; {checkpoint} differs in {', '.join(names)}: "
                "use runs with the same data, split and selection."
            )
    return members


def fit_weights(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Maximum-likelihood weights, on the simplex, of the weighted mean of the members' probabilities.

    Maximises `L(w) = mean_n sum_k t_nk log sum_m w_m p_nmk` by expectation maximisation: each weight becomes the mean
    share of its member in the probability of the target. `L` is concave, so it has one maximum; no step lowers it or
    leaves the simplex, and there is no step size. `L` is at most `g - 1` below its maximum, with the largest gradient
    `g = max_m dL/dw_m`; the fit stops when that is below `TOLERANCE`, or after `MAX_STEPS`.

    Args:
        log_probabilities: Log-probabilities (N, M, K) of N images, M members and K classes.
        target: Class indices (N,) or label distributions (N, K).

    Returns:
        Weights (M,), float64, that sum to 1.
    """
    count, members, classes = log_probabilities.shape
    truth = nn.functional.one_hot(target, classes) if target.ndim == 1 else target
    truth = truth.double() / count
    importance = truth[truth > 0]
    log_likelihoods = log_probabilities.double().transpose(1, 2)[truth > 0]
    # A factor common to all members changes no share; without it, exp underflows where all are confident and wrong.
    likelihoods = (log_likelihoods - log_likelihoods.amax(dim=1, keepdim=True)).exp()
    weights = torch.full((members,), 1 / members, dtype=torch.float64, device=likelihoods.device)
    for _ in range(MAX_STEPS):
        gradient = (importance / (likelihoods @ weights)) @ likelihoods
        if gradient.max() - 1 < TOLERANCE:
            break
        weights = weights * gradient
    return weights / weights.sum()


class VoteFitting(ExpressionClassifier):
    """Fits the weights of `WeightedVoting` on the validation split, and logs the validation scores of the vote.

    Training images are not used: one batch is scored with equal weights, because every run has a training score. The
    fit takes one epoch, whatever the options of the trainer. The validation scores are those of the images that the
    weights were fitted on; the test split is not used.
    """

    def setup(self, stage: str) -> None:
        """Checks the network and the trainer, and limits training to one batch of one epoch.

        Raises:
            UserError: The network is not a vote, there are several devices, or weights are averaged over steps.
        """
        if not hasattr(self.net, "member_log_probabilities"):
            raise UserError(
                f"procedure=vote needs model=weighted_voting; got {type(self.net).__name__}: use that model, or "
                "procedure=supervised."
            )
        if self.trainer.world_size > 1:
            raise UserError("procedure=vote runs in one process: use trainer.devices=1.")
        if any(isinstance(callback, WeightAveraging) for callback in self.trainer.callbacks):  # type: ignore[attr-defined]
            raise UserError(
                "procedure=vote takes no optimizer steps, so callbacks=ema has no weights to average: omit it."
            )
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
        weights = ", ".join(f"{weight:.3f}" for weight in self._voting.weights.tolist())
        log.info("vote weights, in the order of model.checkpoints: %s", weights)
        votes = self._voting.vote(log_probabilities)
        self.val_metrics.update(votes.softmax(dim=1), hard(target))
        self.log("val/loss", nn.functional.cross_entropy(votes, target), prog_bar=True)
        super().on_validation_epoch_end()

    def configure_optimizers(self) -> Any:
        """Optimizer without effect, because Lightning requires one."""
        return SGD([self._voting.weights], lr=0.0)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """No backward pass: all members are frozen."""

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Scores the training batch without an optimizer step."""
        assert optimizer_closure is not None
        optimizer_closure()

    @property
    def _voting(self) -> Any:
        """The network, as Any: its own methods are not those of `nn.Module`."""
        return self.net
