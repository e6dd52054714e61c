"""Predictions of a trained network on a split, as a table, and the scores of that table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError, require_known
from fer_lightning.evaluation.metrics import affect_scores, build_metrics, per_class_scores
from fer_lightning.models.affect import classes_and_affect
from fer_lightning.models.weighted_voting import TTA, views
from fer_lightning.results.intervals import accuracy_interval
from fer_lightning.results.prior import AS_TRAINED, PriorShift
from fer_lightning.results.protocol import AFFECT
from fer_lightning.results.run_record import PROBABILITY_PREFIX, TARGET_PREFIX


def predict_split(
    trainer: pl.Trainer,
    inference: Inference,
    datamodule: ExpressionDataModule,
    split: str,
    classes: Sequence[str],
    corruption: Augmentation | None = None,
) -> pd.DataFrame:
    """Predicts every row of a split, over all processes of the trainer.

    Args:
        trainer: Trainer that runs the prediction; the data module is attached to it, so that each process predicts its
            share.
        inference: The network.
        datamodule: Data module that has the split.
        split: `"train"`, `"val"` or `"test"`.
        classes: The K class names of the network.
        corruption: Corruption of the images, or None.

    Returns:
        The columns `id`, `split`, `target` (in the label set of the data) and `prob_<class>`, in the order of the data.

    Raises:
        UserError: A probability is not finite.
    """
    datamodule.trainer = trainer
    loader = datamodule.eval_dataloader(split, corruption)
    batches: Any = trainer.predict(inference, loader)
    table = prediction_table(trainer, batches, loader, datamodule.ids(split), split, classes)
    if AFFECT[0] in table and AFFECT[0] in datamodule.frame:
        targets = datamodule.frame.loc[datamodule.frame["split"] == split, [*AFFECT]]
        table = table.join(targets.add_prefix(TARGET_PREFIX).reset_index(drop=True))
    if not np.isfinite(table[[PROBABILITY_PREFIX + name for name in classes]].to_numpy()).all():
        raise UserError(
            "Probabilities of the network must be finite; got NaN, because its training diverged: lower optimizer.lr."
        )
    return table


def prediction_table(
    trainer: pl.Trainer,
    batches: Iterable[tuple[Tensor, ...]],
    loader: DataLoader,
    ids: np.ndarray,
    split: str,
    classes: Sequence[str],
) -> pd.DataFrame:
    """Table of the predicted batches of a split, over all processes of the trainer.

    Args:
        trainer: Trainer of the processes, each of which predicted its share.
        batches: Probabilities `(B, K)`, targets and, if the network predicts them, valence and arousal `(B, 2)` of each
            batch of this process.
        loader: Loader of the batches (`ExpressionDataModule.eval_dataloader`).
        ids: Ids of all rows of the split, in the order of the data.
        split: Name of the split.
        classes: The K class names of the network.

    Returns:
        The columns `id`, `split`, `target`, `prob_<class>` and, if predicted, `valence` and `arousal`, in the order of
        the data.
    """
    probabilities, targets, *affect = (torch.cat(parts).cpu().numpy() for parts in zip(*batches))
    targets = targets if targets.ndim == 1 else targets.argmax(axis=1)
    positions = loader.batch_sampler.indices  # type: ignore[union-attr]
    if trainer.world_size > 1:
        parts: list[tuple[np.ndarray, ...]] = [()] * trainer.world_size
        torch.distributed.all_gather_object(parts, (positions, probabilities, targets, *affect))
        positions, probabilities, targets, *affect = (np.concatenate(part) for part in zip(*parts))
    order = np.argsort(positions)
    table = pd.DataFrame({"id": ids[positions[order]], "split": split, "target": targets[order]})
    columns = [PROBABILITY_PREFIX + name for name in classes]
    predicted = [pd.DataFrame(values[order], columns=[*AFFECT]) for values in affect]
    return pd.concat([table, pd.DataFrame(probabilities[order], columns=columns), *predicted], axis=1)


def score(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, object]:
    """Scores the predictions of one split.

    Args:
        predictions: Columns `target` and `prob_<class>`.
        classes: The K class names.

    Returns:
        `n`, every metric of `build_metrics`, `loss` (mean negative log-likelihood in nats), the 95 % Wilson interval
        `accuracy_low`, `accuracy_high`, `per_class` and, for tables that have both, the scores of valence and arousal.
    """
    probabilities = torch.tensor(predictions[[PROBABILITY_PREFIX + name for name in classes]].to_numpy(np.float32))
    target = torch.tensor(predictions["target"].to_numpy(np.int64))
    values = {name: float(value) for name, value in build_metrics(len(classes))(probabilities, target).items()}
    low, high = accuracy_interval(int((probabilities.argmax(dim=1) == target).sum()), len(target))
    return {
        "n": len(target),
        **values,
        "accuracy_low": low,
        "accuracy_high": high,
        "loss": float(nn.functional.nll_loss(probabilities.clamp_min(1e-12).log(), target)),
        "per_class": per_class_scores(probabilities, target, classes),
        **affect_scores(predictions),
    }


def score_splits(
    tables: Mapping[str, pd.DataFrame], classes: Sequence[str], datamodule: ExpressionDataModule
) -> dict[str, dict[str, object]]:
    """Scores the predictions of several splits, and those of the clean part of the test split.

    Returns:
        Result of `score` by split. If test images have exact copies in the training split, `test_clean` has the scores
        without them.
    """
    scored = {split: score(table, classes) for split, table in tables.items()}
    if "test" in tables:
        seen = datamodule.ids("test")[datamodule.seen_in_training("test")]
        clean = tables["test"][~tables["test"]["id"].isin(seen)]
        if 0 < len(clean) < len(tables["test"]):
            scored["test_clean"] = score(clean, classes)
    return scored


class Inference(pl.LightningModule):
    """LightningModule that predicts probabilities with a trained network.

    Args:
        net: Maps images `(B, C, H, W)`, and auxiliary inputs `(B, S)` if the data has them, to logits `(B, K)`.
        channels_last: Use the channels-last memory format.
        tta: Average the probabilities of these views of an image, see `fer_lightning.models.weighted_voting.views`.
        prior: Change of the class prior, of calibrated probabilities; by default, neither changes them.
    """

    def __init__(
        self, net: nn.Module, channels_last: bool = True, tta: str = "none", prior: PriorShift = AS_TRAINED
    ) -> None:
        super().__init__()
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=self._memory_format)
        require_known("tta", tta, TTA)
        self.tta = tta
        self.prior = prior

    def predict_step(self, batch: tuple[Tensor, ...], batch_index: int) -> tuple[Tensor, ...]:
        """Probabilities `(B, K)`, unchanged targets and, with a second output, valence and arousal `(B, 2)`."""
        image, *side, target = batch
        image = image.contiguous(memory_format=self._memory_format)
        if side and self.tta != "none":
            raise UserError(f"tta={self.tta} changes images but not the auxiliary input of this network: use tta=none.")
        has_affect = hasattr(self.net, "affect_head")
        forward = partial(classes_and_affect, self.net) if has_affect else lambda *inputs: (self.net(*inputs),)
        logits, *affect = zip(*(forward(view, *side) for view in views(image, self.tta)))
        shares = [(each.float() / self.prior.temperature).softmax(dim=1) for each in logits]
        probabilities = torch.stack(shares).mean(dim=0)
        if self.prior is not AS_TRAINED:
            probabilities = torch.from_numpy(self.prior(probabilities.numpy(force=True)))
        return (probabilities, target, *(torch.stack(each).mean(dim=0) for each in affect))
