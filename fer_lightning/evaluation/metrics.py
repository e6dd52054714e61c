"""Classification metrics, based on torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchmetrics import ConcordanceCorrCoef, MeanSquaredError, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from fer_lightning.errors import UserError, require_known
from fer_lightning.results.calibration import BINS
from fer_lightning.results.protocol import AFFECT
from fer_lightning.results.run_record import TARGET_PREFIX

# Direction in which each metric improves; the keys are the scores that a checkpoint can be selected by.
BETTER = {
    "accuracy": "max",
    "balanced_accuracy": "max",
    "macro_precision": "max",
    "macro_recall": "max",
    "macro_f1": "max",
    "auroc": "max",
    "ece": "min",
    "loss": "min",
}


# The same for data with valence and arousal, which networks with a second output predict.
AFFECT_BETTER = {f"{score}_{name}": better for score, better in (("ccc", "max"), ("rmse", "min")) for name in AFFECT}


def check_selection(monitor: str, mode: str) -> None:
    """Refuses to choose an epoch by what is not measured, or the worst one.

    Raises:
        UserError: They name no metric of the validation split, or the wrong direction.
    """
    known = {f"val/{name}": best for name, best in {**BETTER, **AFFECT_BETTER}.items()}
    require_known("selection.monitor", monitor, known)
    if mode != known[monitor]:
        raise UserError(f"selection.mode={mode} would select the worst epoch by {monitor}: use {known[monitor]}.")


def build_metrics(num_classes: int) -> MetricCollection:
    """Metrics of probabilities `(B, K)` against class indices `(B,)`; all are ratios in 0..1.

    Balanced accuracy and AUROC average over the classes that have images. Macro precision, recall and F1 average over
    the classes that have images or were predicted, so that recall is lower where an absent class was predicted.
    """
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "balanced_accuracy": BalancedAccuracy(num_classes, average="none"),
            "macro_precision": MulticlassPrecision(num_classes, average="macro"),
            "macro_recall": MulticlassRecall(num_classes, average="macro"),
            "macro_f1": MulticlassF1Score(num_classes, average="macro"),
            "auroc": MacroAUROC(num_classes, average="none"),
            "ece": ExpectedCalibrationError(num_classes, n_bins=BINS),
        }
    )


class BalancedAccuracy(MulticlassRecall):
    """Mean recall of the classes that have images."""

    def compute(self) -> Tensor:
        present = (self.tp + self.fn) > 0  # type: ignore[operator]
        return super().compute()[present].mean()


class MacroAUROC(MulticlassAUROC):
    """Mean area under the ROC curve, each class against the rest, of the classes that have images.

    torchmetrics counts the undefined area of an absent class as 0. The result is NaN if fewer than two classes have
    images.
    """

    def compute(self) -> Tensor:  # type: ignore[override]
        probabilities, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        present = target.unique()
        if len(present) < 2:
            return probabilities.new_tensor(torch.nan)
        areas = [binary_auroc(probabilities[:, label], (target == label).long()) for label in present.tolist()]
        return torch.stack(areas).mean()


class ExpectedCalibrationError(MulticlassCalibrationError):
    """Mean distance of confidence and accuracy over bins of equal width that hold their upper border.

    torchmetrics gives a confidence of exactly 1 a bin of its own; here it belongs to the last one, as in the
    reliability diagram.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
    """

    def compute(self) -> Tensor:
        confidence, correct = dim_zero_cat(self.confidences), dim_zero_cat(self.accuracies)
        borders = torch.linspace(0, 1, self.n_bins + 1, device=confidence.device)
        position = (torch.bucketize(confidence, borders) - 1).clamp(0, self.n_bins - 1)
        gaps = torch.zeros(self.n_bins, device=confidence.device).index_add(0, position, confidence - correct)
        return gaps.abs().sum() / len(confidence)


class AffectMetrics(nn.Module):
    """Concordance correlation coefficient and root mean squared error of valence and of arousal.

    Predictions `(B, 2)` are scored where the targets `(B, 2)` are not NaN; a score without any is NaN.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in AFFECT:
            self.add_module(f"ccc_{name}", ConcordanceCorrCoef())
            self.add_module(f"rmse_{name}", MeanSquaredError(squared=False))

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Adds a batch."""
        for name, metric in self._metrics():
            column = AFFECT.index(name.partition("_")[2])
            if (known := target[:, column].isfinite()).any():
                metric.update(predicted[known, column].float(), target[known, column])

    def compute(self) -> dict[str, Tensor]:
        """The scores by name, such as `ccc_valence`, of all batches since the last call."""
        scores = {}
        for name, metric in self._metrics():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # where no image is annotated
                scores[name] = metric.compute()
            metric.reset()
        return scores

    def _metrics(self) -> Iterator[tuple[str, Any]]:
        return self.named_children()


def affect_scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Scores of valence and arousal in a table of predictions, see `RunRecord`; none where it has no such columns."""
    columns = [*AFFECT, *(TARGET_PREFIX + name for name in AFFECT)]
    if not set(columns) <= set(predictions):
        return {}
    metrics = AffectMetrics()
    metrics.update(*torch.tensor(predictions[columns].to_numpy(np.float32)).split(2, dim=1))
    return {name: float(value) for name, value in metrics.compute().items()}


def per_class_scores(
    probabilities: Tensor, target: Tensor, classes: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    """Precision, recall, F1 and support of K classes, from probabilities `(N, K)` and class indices `(N,)`."""
    count = len(classes)
    metrics = MetricCollection(
        {
            "precision": MulticlassPrecision(count, average="none"),
            "recall": MulticlassRecall(count, average="none"),
            "f1": MulticlassF1Score(count, average="none"),
        }
    )
    values = metrics(probabilities, target)
    support = torch.bincount(target, minlength=count)
    return {
        name: {**{str(key): float(values[key][i]) for key in metrics}, "support": int(support[i])}
        for i, name in enumerate(classes)
    }
