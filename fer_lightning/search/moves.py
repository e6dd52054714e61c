"""Moves of the bobcats: the equations of the paper, one function each.

*PsySFA-Net* (`models/psysfa_net.py`), section 3.8, eqs. 13-19, after Z. Benmamoun, K. Khlie, G. Bektemyssova,
M. Dehghani and Y. Gherabi, *Bobcat Optimization Algorithm* (BOA), Scientific Reports 14:20099, 2024,
doi:10.1038/s41598-024-70497-1. The population of eq. 13 is an array (N, D), one row a bobcat; other arrays of a
move may have more axes before D.

Readings:
    - Eq. 16, `SP`: printed without the index k, so that all n terms have one prey. `literal` keeps that; the others
      draw n prey without replacement, as the text says ("multiple prey for each bobcat").
    - Eq. 16, `gamma_k`: printed without the index j, one number a prey. `literal` keeps that; the others may draw one
      for each dimension, so that the search is not limited to the span of its population.
    - Eq. 16, `W_exploration(t)`: "gradually decreases", nothing more. See `exploration_weight`.
    - Eq. 16, a bobcat with fewer better ones than n: the missing terms are zero. One with none stays where it is.
    - Eq. 18, `x` as the length of the step: a bobcat at zero could never move, one far from zero moves further, and the
      result depends on the zero of the unit. `literal` keeps that; the others step relative to the range.
    - Eq. 18, `r_i`: printed without the index j, so that all dimensions move by the same share. `literal` keeps that;
      the others draw one for each dimension; otherwise, with the range in place of x, moves are along a diagonal.
    - A position outside the bounds is clipped to them, as in BOA; the paper does not say.
    - BOA's article was not available; its equations (4)-(7) are from a public port: candidate prey, acceptance and
      chase are eqs. 15, 17, 18 and 19 here, with r for each dimension. Its exploration draws one prey, and r and I for
      each dimension; a bobcat without better ones is its own prey.
"""

from __future__ import annotations

import numpy as np

SCHEDULES = ("inverse", "linear", "constant")


def initial(low: float, high: float, r: np.ndarray) -> np.ndarray:
    """Eq. 14, one dimension: positions at r in [0, 1] of the way between the bounds, any shape."""
    return low + r * (high - low)


def better(values: np.ndarray) -> np.ndarray:
    """Eq. 15: candidate prey of each bobcat.

    Args:
        values: Objectives (N,), smaller is better; NaN for a bobcat without one.

    Returns:
        Mask (N, N), True at [i, k] if k is strictly better than i.
    """
    return values[None, :] < values[:, None]


def choose_prey(prey: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """Draws prey without replacement.

    Args:
        prey: Mask (N, N) of candidate prey, see `better`.
        keys: Random numbers (N, M, N) in [0, 1) for M draws a bobcat; the prey with the smallest keys are drawn.
        count: Number of prey of a draw.

    Returns:
        Indices (N, M, count) of bobcats; i itself where bobcat i has fewer prey.
    """
    count_drawn = min(count, len(prey))
    order = np.argsort(np.where(prey[:, None, :], keys, 2.0), axis=-1)[..., :count_drawn]
    enough = np.arange(count_drawn) < prey.sum(axis=1)[:, None, None]
    itself = np.arange(len(prey))[:, None, None]
    chosen = np.where(enough, order, itself)
    missing = np.broadcast_to(itself, (*chosen.shape[:-1], count - count_drawn))
    return np.concatenate([chosen, missing], axis=-1)


def exploration_weight(schedule: str, t: int, iterations: int | None) -> float:
    """W_exploration(t) of eq. 16.

    Args:
        schedule: `"inverse"` is 1 / (1 + t), the factor of eq. 18; `"linear"` falls from 1 in the first to
            1 / iterations in the last iteration and stays there; `"constant"` is 1.
        t: Number of the iteration, from 1.
        iterations: Number of iterations, needed by `"linear"` only.
    """
    if schedule == "inverse":
        return 1 / (1 + t)
    if schedule == "linear":
        assert iterations is not None
        return 1 - (min(t, iterations) - 1) / iterations
    return 1.0


def track(x: np.ndarray, prey: np.ndarray, gamma: np.ndarray, weight: float) -> np.ndarray:
    """Eq. 16, exploration: x + W(t) * sum over k of gamma_k * (SP_k - x).

    Args:
        x: Positions. (..., D).
        prey: Positions of the prey. (..., n, D), or (..., 1, D) where all terms share one, as printed.
        gamma: Random numbers in [0, 1]. (..., n, 1), or (..., n, D) for one in each dimension.
        weight: W(t).
    """
    return x + weight * (gamma * (prey - x[..., None, :])).sum(axis=-2)


def chase(x: np.ndarray, r: np.ndarray, t: int, reach: np.ndarray | float) -> np.ndarray:
    """Eq. 18, exploitation: x + (1 - 2r) / (1 + t) * reach.

    Args:
        x: Positions. (..., D).
        r: Random numbers in [0, 1]. (..., 1) as printed, or (..., D).
        t: Number of the iteration, from 1.
        reach: x itself as printed, or the range of each dimension.
    """
    return x + (1 - 2 * r) / (1 + t) * reach


def track_of_boa(x: np.ndarray, prey: np.ndarray, r: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """BOA's exploration: x + (1 - 2r) * (SP - I x).

    Args:
        x: Positions. (..., D).
        prey: Position of the one prey of each. (..., D).
        r: Random numbers in [0, 1]. (..., D).
        intensity: I, 1 or 2. (..., D).
    """
    return x + (1 - 2 * r) * (prey - intensity * x)


def accept(values: np.ndarray, individuals: np.ndarray, population: int) -> np.ndarray:
    """Eqs. 17 and 19 applied to all trials: index of the trial that is each bobcat's position.

    A new position replaces the old one if it is at least as good, so it is the last of a bobcat's best trials.

    Args:
        values: Objectives (n,) in the order of the trials, smaller is better.
        individuals: Index (n,) of the bobcat of each trial.
        population: Number of bobcats.

    Returns:
        Indices (population,) of trials; -1 for a bobcat without one.
    """
    standing = np.full(population, -1)
    order = np.lexsort((-np.arange(len(values)), values))
    tried, first = np.unique(individuals[order], return_index=True)
    standing[tried] = order[first]
    return standing
