"""Words below explained faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def predicted_caption(probabilities: np.ndarray, classes: Sequence[str]) -> list[str]:
    """The predicted class of each face with its probability, as in `"sad 62 %"`.

    Args:
        probabilities: (N, K).
        classes: The K class names.
    """
    return target_caption(probabilities, probabilities.argmax(1), classes)


def target_caption(probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> list[str]:
    """A class of each face with its probability.

    Args:
        probabilities: (N, K).
        targets: Class indices (N,).
        classes: The K class names.
    """
    return [f"{classes[target]} {own[target]:.0%}".replace("%", " %") for own, target in zip(probabilities, targets)]
