"""The scores of this project, from torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

CALIBRATION_BINS = 15


def build_metrics(num_classes: int) -> MetricCollection:
    """Metrics of probabilities `(B, K)` against class indices `(B,)`; all are ratios in 0..1.

    Macro averages run over the classes that occur. Balanced accuracy is the mean of the recalls.
    """
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "balanced_accuracy": MulticlassAccuracy(num_classes, average="macro"),
            "macro_precision": MulticlassPrecision(num_classes, average="macro"),
            "macro_recall": MulticlassRecall(num_classes, average="macro"),
            "macro_f1": MulticlassF1Score(num_classes, average="macro"),
            "auroc": MulticlassAUROC(num_classes, average="macro"),
            "ece": MulticlassCalibrationError(num_classes, n_bins=CALIBRATION_BINS, norm="l1"),
        }
    )


def per_class_scores(probabilities: Tensor, target: Tensor, classes: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Precision, recall, F1 and support of every class.

    Args:
        probabilities: `(N, K)`.
        target: Class indices `(N,)`.
        classes: The K class names.
    """
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
        name: {**{key: float(values[key][i]) for key in metrics}, "support": int(support[i])}
        for i, name in enumerate(classes)
    }
