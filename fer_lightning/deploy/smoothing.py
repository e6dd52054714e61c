"""Class probabilities that do not flicker from frame to frame."""

from __future__ import annotations

import math

import numpy as np


class Smoother:
    """Exponential moving average of the probabilities of each person, the same at any frame rate.

    After a sudden change, the share `1 - exp(-t / time_constant)` of it is seen t seconds later.

    Args:
        time_constant: In seconds; 0 leaves everything as it is.
    """

    def __init__(self, time_constant: float) -> None:
        self.time_constant = time_constant
        self._last: dict[int, tuple[float, np.ndarray]] = {}

    def smooth(self, track: int, probabilities: np.ndarray, seconds: float) -> np.ndarray:
        """The average of what was seen of a person so far.

        Args:
            track: Number of the person.
            probabilities: `(K,)`, of this frame.
            seconds: When, not earlier than the frame before.

        Returns:
            `(K,)`; it sums to 1 as `probabilities` does.
        """
        if track in self._last and self.time_constant > 0:
            before, average = self._last[track]
            kept = math.exp(-(seconds - before) / self.time_constant)
            probabilities = kept * average + (1 - kept) * probabilities
        self._last[track] = (seconds, probabilities)
        # A long video has thousands of tracks; of one that ended so long ago, nothing is left in the sum.
        ended = [other for other, (last, _) in self._last.items() if seconds - last > 40 * self.time_constant]
        for other in ended:
            del self._last[other]
        return probabilities
