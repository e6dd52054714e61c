"""Surrogate model of `scent` and `surrogate`, which screens the candidate moves of a bobcat; not in the paper.

Source: R. G. Regis and C. A. Shoemaker, *A stochastic radial basis function method for
the global optimization of expensive functions*, INFORMS Journal on Computing 19(4), 2007.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial.distance import cdist

# Weights of the predicted value against the distance from earlier trials; the cycle of the source, section 5.
VALUE_WEIGHTS = (0.3, 0.5, 0.8, 0.95)

# Fitting the model takes time cubic in this.
MODEL_POINTS = 300

# Singular values and distances below these are rounding errors.
_FLAT, _SAME = 1e-6, 1e-9

# Larger values overflow when subtracted or squared.
_HUGE = 1e100


class Surrogate:
    """Cubic radial-basis-function interpolation of the objective, with a linear tail.

    Infinite values count as the largest or smallest finite one. Values above the median are set to the median, so that
    a diverged trial does not distort the model near the optimum. Trials at the same point are averaged. Directions
    along which the trials do not differ are left out, so that two trials are enough. Of more than `MODEL_POINTS`
    trials, half are the best and half are the latest.

    Args:
        points: Points (n, D) in the order of the trials.
        values: Objectives (n,), smaller is better; not NaN.
    """

    def __init__(self, points: np.ndarray, values: np.ndarray) -> None:
        kept = _kept(values)
        points, group = np.unique(points[kept], axis=0, return_inverse=True)
        values = _tamed(values[kept])
        group = group.reshape(-1)
        values = np.bincount(group, weights=values) / np.bincount(group)
        self._center = points.mean(axis=0)
        _, stretch, axes = np.linalg.svd(points - self._center, full_matrices=False)
        self._axes = axes[stretch > _FLAT]
        self._model = None
        if len(self._axes) and np.ptp(values) > 0:
            try:
                self._model = RBFInterpolator((points - self._center) @ self._axes.T, values, kernel="cubic")
            except np.linalg.LinAlgError:  # points too close to each other
                self._model = None

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Predicted values (m,) at points (m, D); zeros if no model can be fitted."""
        if self._model is None:
            return np.zeros(len(points))
        return np.nan_to_num(self._model((points - self._center) @ self._axes.T))


def _tamed(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(values))
    values = np.clip(np.clip(values, finite.min(), finite.max()), -_HUGE, _HUGE)
    return np.minimum(values, np.median(values))


def _kept(values: np.ndarray) -> np.ndarray:
    if len(values) <= MODEL_POINTS:
        return np.arange(len(values))
    half = MODEL_POINTS // 2
    best = np.argsort(values, kind="stable")[:half]
    latest = np.setdiff1d(np.arange(len(values)), best)[-half:]
    return np.union1d(best, latest)


def choose_moves(moves: np.ndarray, predicted: np.ndarray, tried: np.ndarray, turn: int) -> np.ndarray:
    """Selects one move for each bobcat, in their order.

    The score of a move is w * value + (1 - w) * (1 - distance), both scaled to [0, 1] over the moves of the bobcat; w
    cycles through `VALUE_WEIGHTS`. The distance is to the nearest point that was tried or selected for an earlier
    bobcat; without it, all bobcats would move to the same place. Such a point itself is selected only if there is no
    other.

    Args:
        moves: Candidate moves (N, M, D).
        predicted: Predicted values (N, M).
        tried: Points (n, D) of all trials, including running ones.
        turn: Position of the first bobcat in the cycle of weights.

    Returns:
        Index (N,) of the move of each bobcat.
    """
    n, m, d = moves.shape
    distances = cdist(moves.reshape(n * m, d), tried).min(axis=1, initial=np.inf).reshape(n, m)
    picked = np.zeros(n, dtype=int)
    for i in range(n):
        weight = VALUE_WEIGHTS[(turn + i) % len(VALUE_WEIGHTS)]
        scores = weight * _scaled(predicted[i]) + (1 - weight) * (1 - _scaled(distances[i]))
        picked[i] = np.argmin(np.where(distances[i] > _SAME, scores, 2 + scores))
        step = np.linalg.norm(moves - moves[i, picked[i]], axis=-1)
        distances = np.minimum(distances, step)
    return picked


def _scaled(numbers: np.ndarray) -> np.ndarray:
    low, high = numbers.min(), numbers.max()
    if not high > low or not np.isfinite(high):
        return np.zeros_like(numbers)
    return (numbers - low) / (high - low)
