"""Surrogate models of `scent` and `surrogate`, which screen the candidate moves of a bobcat; not in the paper.

Sources: R. G. Regis and C. A. Shoemaker, *A stochastic radial basis function method for the global optimization of
expensive functions*, INFORMS Journal on Computing 19(4), 2007; D. R. Jones, M. Schonlau and W. J. Welch, *Efficient
global optimization of expensive black-box functions*, Journal of Global Optimization 13, 1998.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import erfcx

# Weights of the predicted value against the distance from earlier trials; the cycle of the source, section 5.
VALUE_WEIGHTS = (0.3, 0.5, 0.8, 0.95)

# Fitting the model takes time cubic in this.
MODEL_POINTS = 300

# Logarithms of the length scales (relative to the diagonal of the cube) and of the noise: means and standard deviations
# of their normal priors, and bounds. The noise is a variance relative to that of the process.
_LENGTH, _NOISE = (-np.log(2.0), 1.0, (-4.0, 4.0)), (-4.0, 2.0, (-12.0, 2.0))
_EVALUATIONS = 20  # of the likelihood
_JITTER = 1e-6

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


class GaussianProcess:
    """Gaussian process with a Matern-5/2 kernel, a length scale for each parameter, and noise.

    Length scales and noise maximise the posterior density, the variance of the process the likelihood. Infinite values
    count as the largest or smallest finite one. Values above the median by more than the best value is below it are set
    to that distance, so that a diverged trial does not hide the differences between good ones. Fitting it takes longer
    than fitting `Surrogate`; it allows for noise, and for parameters that hardly matter.

    Args:
        points: Points (n, D) of the trials.
        values: Objectives (n,), smaller is better; not NaN.
        parameters: Index (D,) of the parameter of each column, from 0; the columns of a choice share a length scale.

    Attributes:
        best: Smallest prediction at the points.
        scale: Variance of the process, in the unit of the predictions.
        noise: Variance of the noise relative to it.
    """

    def __init__(self, points: np.ndarray, values: np.ndarray, parameters: np.ndarray) -> None:
        values = _finite(values)
        values = np.minimum(values, 2 * np.median(values) - values.min())
        values = (values - values.mean()) / (values.std() or 1.0)
        lengths, self.noise = _fit(points, values, parameters)
        self._lengths = lengths[parameters]
        self._points = points
        covariance = self.covariance(points, points)
        self._root = cholesky(covariance + (self.noise + _JITTER) * np.eye(len(points)), lower=True)
        self._weights = cho_solve((self._root, True), values)
        self.best = (covariance @ self._weights).min()
        self.scale = max(values @ self._weights / len(points), _JITTER)

    def covariance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Prior covariances (m, k) of points (m, D) and (k, D), relative to `scale`."""
        return _matern(cdist(first / self._lengths, second / self._lengths))

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m,) at points (m, D), standardised; and factors (n, m) of what the trials say about them.

        The posterior covariance, relative to `scale`, is the prior one minus `factors.T @ factors`.
        """
        covariance = self.covariance(self._points, points)
        return self._weights @ covariance, solve_triangular(self._root, covariance, lower=True)


def _matern(distances: np.ndarray) -> np.ndarray:
    r = np.sqrt(5) * distances
    return (1 + r + r**2 / 3) * np.exp(-r)


def _fit(points: np.ndarray, values: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, float]:
    """Most probable length scales (P,) and noise of a Gaussian process with standardised values."""
    n, count = len(points), int(parameters.max()) + 1
    columns = [points[:, parameters == parameter] for parameter in range(count)]
    squares = np.stack([cdist(column, column, "sqeuclidean").ravel() for column in columns])
    mean = np.append(np.full(count, _LENGTH[0] + 0.5 * np.log(count)), _NOISE[0])
    spread = np.append(np.full(count, _LENGTH[1]), _NOISE[1])

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative logarithm of the posterior density, and its gradient."""
        inverse, noise = np.exp(-2 * logs[:-1]), np.exp(logs[-1])
        distances = np.sqrt(inverse @ squares)
        covariance = _matern(distances).reshape(n, n) + (noise + _JITTER) * np.eye(n)
        root = cholesky(covariance, lower=True, check_finite=False)
        precision = cho_solve((root, True), np.eye(n), check_finite=False)
        weights = precision @ values
        scale = max(values @ weights / n, _JITTER)
        off = (logs - mean) / spread
        density = np.log(np.diag(root)).sum() + 0.5 * n * np.log(scale) + 0.5 * off @ off
        slope = precision - np.outer(weights, weights) / scale
        r = np.sqrt(5) * distances
        by_length = squares @ (slope.ravel() * 5 / 3 * (1 + r) * np.exp(-r)) * inverse
        return density, 0.5 * np.append(by_length, np.trace(slope) * noise) + off / spread

    bounds = [_LENGTH[2]] * count + [_NOISE[2]]
    logs = minimize(loss, mean, jac=True, bounds=bounds, options={"maxfun": _EVALUATIONS}).x
    return np.exp(logs[:-1]), float(np.exp(logs[-1]))


def _finite(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(values))
    return np.clip(np.clip(values, finite.min(), finite.max()), -_HUGE, _HUGE)


def _tamed(values: np.ndarray) -> np.ndarray:
    values = _finite(values)
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


def choose_improvements(model: GaussianProcess, moves: np.ndarray, tried: np.ndarray) -> np.ndarray:
    """Selects the move with the largest expected improvement for each bobcat, in their order.

    The best value so far is the smallest prediction at a trial, because a noisy value may look better than it is. A
    selected move counts as a trial with the predicted value: it is then certain, so that the next bobcat moves to
    another place. A point that was tried or selected is selected again only if there is no other.

    Args:
        model: Model of the trials.
        moves: Candidate moves (N, M, D).
        tried: Points (n, D) of all trials, including running ones.

    Returns:
        Index (N,) of the move of each bobcat.
    """
    n, m, d = moves.shape
    points = moves.reshape(n * m, d)
    mean, factors = model(points)
    distances = cdist(points, tried).min(axis=1, initial=np.inf)
    best = model.best
    picked = np.zeros(n, dtype=int)
    for i in range(n):
        own = slice(i * m, (i + 1) * m)
        variance = np.maximum(1 - (factors**2).sum(axis=0), _JITTER)
        score = _log_improvement(best - mean[own], np.sqrt(model.scale * variance[own]))
        picked[i] = np.argmax(np.where(distances[own] > _SAME, score, score - _HUGE))
        chosen = i * m + picked[i]
        best = min(best, mean[chosen])
        covariance = model.covariance(points[chosen : chosen + 1], points) - factors[:, chosen] @ factors
        factors = np.concatenate([factors, covariance / np.sqrt(variance[chosen] + model.noise)])
        distances = np.minimum(distances, cdist(points[chosen : chosen + 1], points)[0])
    return picked


def _log_improvement(gain: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Logarithm of the expected improvement of normal predictions, plus a constant, by mean gain and deviation."""
    u = np.clip(gain / deviation, -1e3, 30)  # within these, no rounding error is seen
    return np.log(deviation) - u**2 / 2 + np.log1p(u * np.sqrt(np.pi / 2) * erfcx(-u / np.sqrt(2)))


def _scaled(numbers: np.ndarray) -> np.ndarray:
    low, high = numbers.min(), numbers.max()
    if not high > low or not np.isfinite(high):
        return np.zeros_like(numbers)
    return (numbers - low) / (high - low)
