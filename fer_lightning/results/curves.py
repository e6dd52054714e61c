"""ROC and precision-recall curves, confusion counts and the most confident errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve


@dataclass(frozen=True)
class ClassCurve:
    """A curve of one class.

    Attributes:
        index: Position of the class in the logits.
        name: The class.
        x: False positive rate, or recall; `(P,)`.
        y: True positive rate, or precision; `(P,)`.
        area: Area under the ROC curve, or average precision.
    """

    index: int
    name: str
    x: np.ndarray
    y: np.ndarray
    area: float


def roc_curves(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> list[ClassCurve]:
    """ROC curves of the classes that some but not all targets have.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        classes: The K class names.
    """
    curves = []
    for index, name, positive, score in _present(targets, probabilities, classes):
        false_positive, true_positive, _ = roc_curve(positive, score)
        area = float(roc_auc_score(positive, score))
        curves.append(ClassCurve(index, name, false_positive, true_positive, area))
    return curves


def precision_recall_curves(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> list[ClassCurve]:
    """Precision-recall curves by rising recall, of the same classes; arguments as for `roc_curves`."""
    curves = []
    for index, name, positive, score in _present(targets, probabilities, classes):
        precision, recall, _ = precision_recall_curve(positive, score)
        area = float(average_precision_score(positive, score))
        curves.append(ClassCurve(index, name, recall[::-1], precision[::-1], area))
    return curves


def macro_area(curves: Sequence[ClassCurve]) -> float:
    """Mean area of the curves; NaN without curves."""
    return float(np.mean([curve.area for curve in curves])) if curves else float("nan")


def _present(
    targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Iterator[tuple[int, str, np.ndarray, np.ndarray]]:
    for index, name in enumerate(classes):
        positive = targets == index
        if positive.any() and not positive.all():
            yield index, name, positive, probabilities[:, index]


def confusion_counts(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Confusion matrix.

    Args:
        targets: Class indices `(N,)`.
        predicted: Class indices `(N,)`.
        num_classes: Number K of classes.

    Returns:
        Counts `(K, K)`, true classes in rows.
    """
    pairs = np.bincount(targets * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def most_confident_errors(targets: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Misclassified rows with the highest confidence.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        count: Largest number of rows.

    Returns:
        Row numbers, most confident first; ties in the order of the rows.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != targets)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order[:count]]
