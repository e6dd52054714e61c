"""Which class is taken for which, as counts."""

from __future__ import annotations

import numpy as np


def confusion_counts(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts every pair of true and predicted class.

    Args:
        targets: Class indices `(N,)`.
        predicted: Class indices `(N,)`.
        num_classes: K.

    Returns:
        `(K, K)`, true classes in rows.
    """
    pairs = np.bincount(targets * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)
