"""Does a confidence of 80 % mean that 80 % are right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15  # of every calibration error and reliability diagram of this project


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in bins of equal width.

    Attributes:
        edges: Borders of the M bins, `(M + 1,)`; a bin holds its upper border.
        counts: Images per bin, `(M,)`.
        confidence: Mean confidence per bin, `(M,)`; NaN in an empty bin.
        accuracy: Share of correct images per bin, `(M,)`; NaN in an empty bin.
        error: Expected calibration error in 0..1; NaN without images.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def reliability(targets: np.ndarray, probabilities: np.ndarray, bins: int) -> Reliability:
    """Bins the predictions by the probability of the predicted class.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        bins: Number M of bins over 0..1.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equations 2, 3 and 5.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    edges = np.linspace(0, 1, bins + 1)
    # Probabilities may exceed 1 by rounding; they belong to the last bin.
    position = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(position, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(position, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(position, weights=correct, minlength=bins) / counts
        error = np.nansum(counts * np.abs(accuracy - mean_confidence)) / np.float64(counts.sum())
    return Reliability(edges, counts, mean_confidence, accuracy, float(error))
