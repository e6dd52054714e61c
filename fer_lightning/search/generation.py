"""Next positions of all bobcats, as a pure function of the rules and the trials of earlier generations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from fer_lightning.search import moves
from fer_lightning.search.encoding import Choice, Encoding, Number
from fer_lightning.search.surrogate import GaussianProcess, Surrogate, choose_improvements, choose_moves

VARIANTS = ("boa", "literal", "paper", "scent", "surrogate")

_AS_PRINTED = ("boa", "literal")
_SCREENED = ("scent", "surrogate")

# Share of the moves of `surrogate` that start at the best bobcat, and shares of the parameters that a move changes.
_FROM_BEST = 0.5
_CHANGED = (0.0, 0.25, 0.5, 1.0)

# Trials up to which `surrogate` selects by a Gaussian process; each step of its fit takes time cubic in them.
_FEW = 100


@dataclass(frozen=True)
class Rules:
    """Options of the moves; see `MBOASampler`.

    Attributes:
        iterations: Number of iterations of the whole search, of two generations each; None if unknown.
    """

    variant: str
    population: int
    num_prey: int
    gamma: str
    weight: str
    candidates: int
    iterations: int | None


@dataclass(frozen=True)
class Log:
    """The trials of earlier generations in the order of their numbers, as points of an `Encoding`.

    Attributes:
        points: Points (n, D) of completed trials.
        values: Their objectives (n,), smaller is better.
        individuals: Index (n,) of the bobcat of each trial.
        others: Points (m, D) of failed, pruned and running trials, which are not repeated.
    """

    points: np.ndarray
    values: np.ndarray
    individuals: np.ndarray
    others: np.ndarray


def scatter(rules: Rules, seed: int, generation: int, name: str, dimension: Number | Choice) -> np.ndarray:
    """Initial coordinates of the bobcats in one parameter, independent of the others.

    Readings:
        - Eq. 14 draws the bobcats independently; so do `boa` and `literal`. The others use a Latin hypercube:
          each bobcat is in another stratum of the parameter, so that few of them cover it.

    Args:
        rules: Rules of the search.
        seed: Seed of the search.
        generation: Number of the generation, from 0.
        name: Name of the parameter.
        dimension: Encoding of the parameter.

    Returns:
        Coordinates (N,) of the bobcats.
    """
    rng = np.random.default_rng([seed, generation, crc32(name.encode())])
    if rules.variant in _AS_PRINTED:
        return dimension.between_limits(rng.random(rules.population))
    strata = rng.permutation(rules.population)
    return dimension.spread((strata + rng.random(rules.population)) / rules.population)


def plan(rules: Rules, seed: int, generation: int, encoding: Encoding, log: Log) -> np.ndarray:
    """Points (N, D) of the bobcats in a generation, from 1; odd generations explore, even ones exploit.

    Readings:
        - The paper moves "in each iteration" with "exploration and exploitation" and compares in between (eq. 17), so
          an iteration is two generations: 2g - 1 explores and 2g exploits, both with t = g.
        - All bobcats of a generation move at once, from their positions after the previous generation, so that their
          trials can run in parallel. The paper does not say whether a bobcat sees the moves of those before it.
        - A position is the point that was evaluated: a batch size is an integer, so the next move starts there.
        - A bobcat without a completed trial is scattered again.
        - A categorical parameter changes with probability 1/2 in exploration, to the value of one of the prey, and
          with probability 1 / (1 + t) in exploitation, to a random value.
        - Not as printed: the best bobcat has no prey to track and chases instead, because repeating a training
          gives no information. For the same reason each draws `candidates` moves, and `paper` uses the first one that
          was not tried yet. `literal` and `boa` repeat trials as printed.
    """
    n = rules.population
    scattered = [
        scatter(rules, seed, generation, name, dimension)
        for name, dimension in zip(encoding.names, encoding.dimensions)
    ]
    start = np.stack(scattered, axis=-1)
    standing = moves.accept(log.values, log.individuals, n)
    alive = standing >= 0
    if not alive.any():
        return start
    x, values = start.copy(), np.full(n, np.nan)
    x[alive], values[alive] = log.points[standing[alive]], log.values[standing[alive]]

    # All draws have the same shape whichever trials succeeded, so that bobcats are independent of each other.
    rng = np.random.default_rng([seed, generation])
    tries = 1 if rules.variant in _AS_PRINTED else rules.candidates
    count = 1 if rules.variant in _AS_PRINTED else rules.num_prey
    prey = moves.choose_prey(moves.better(values), rng.random((n, tries, n)), count)
    if rules.variant in _AS_PRINTED:
        numbers = _as_printed(rules, rng, encoding, x, x[prey], generation)
    else:
        numbers = _normalised(rules, rng, x, prey, generation)
    options = np.where(encoding.is_choice, _choices(rules, rng, encoding, x, prey, generation), numbers)
    few = rules.variant == "surrogate" and len(log.values) <= _FEW
    if rules.variant == "surrogate":
        options = _refine(rng, encoding, x, values, options)
    if few:
        best = x[np.nanargmin(values)]
        options = np.concatenate([options, _redraw(rules, rng, encoding, best)], axis=1)
    options[~alive] = start[~alive, None]
    if rules.variant in _AS_PRINTED:
        return options[:, 0]
    options = encoding.snap(options)
    screened = rules.variant in _SCREENED
    picked = _screen(encoding, log, options, generation, few) if screened else _first_fresh(log, options)
    return options[np.arange(n), picked]


def _as_printed(
    rules: Rules, rng: np.random.Generator, encoding: Encoding, x: np.ndarray, prey: np.ndarray, generation: int
) -> np.ndarray:
    """Eqs. 16 and 18 on the scale of the paper; (N, 1, D) points."""
    n, d = x.shape
    t = (generation + 1) // 2
    position, prey = encoding.to_paper(x), encoding.to_paper(prey[:, 0])
    if rules.variant == "literal":
        gamma, r = rng.random((n, rules.num_prey, 1)), rng.random((n, 1))
        weight = moves.exploration_weight(rules.weight, t, rules.iterations)
        tracked = moves.track(position, prey, gamma, weight)
    else:
        r, intensity = rng.random((n, d)), rng.integers(1, 3, (n, d))
        tracked = moves.track_of_boa(position, prey[:, 0], r, intensity)
    moved = tracked if generation % 2 else moves.chase(position, r, t, position)
    return encoding.from_paper(np.clip(moved, *encoding.limits))[:, None]


def _normalised(rules: Rules, rng: np.random.Generator, x: np.ndarray, prey: np.ndarray, generation: int) -> np.ndarray:
    """Eqs. 16 and 18 in the unit cube; (N, M, D) points."""
    n, d = x.shape
    t = (generation + 1) // 2
    gamma = rng.random((n, rules.candidates, rules.num_prey, d if rules.gamma == "dimension" else 1))
    r = rng.random((n, rules.candidates, d))
    current = np.broadcast_to(x[:, None], r.shape)
    moved = chased = moves.chase(current, r, t, 1.0)
    if generation % 2:
        weight = moves.exploration_weight(rules.weight, t, rules.iterations)
        alone = _without_prey(prey)
        moved = np.where(alone[:, None, None], chased, moves.track(current, x[prey], gamma, weight))
    return np.clip(moved, 0.0, 1.0)


def _choices(
    rules: Rules, rng: np.random.Generator, encoding: Encoding, x: np.ndarray, prey: np.ndarray, generation: int
) -> np.ndarray:
    """Candidate values of the categorical parameters of each bobcat, as indices (N, M, D)."""
    n, tries, count = prey.shape
    d = x.shape[1]
    t = (generation + 1) // 2
    chance, whose, random = rng.random((3, n, tries, d))
    current = np.broadcast_to(x[:, None], random.shape)
    copied = np.take_along_axis(x[prey], np.floor(whose * count).astype(int)[..., None, :], axis=-2)[..., 0, :]
    drawn = np.floor(random * encoding.choices)
    chased = np.where(chance < 1 / (1 + t), drawn, current)
    if generation % 2 == 0:
        return chased
    tracked = np.where(chance < 0.5, copied, current)
    if rules.variant in _AS_PRINTED:
        return tracked
    return np.where(_without_prey(prey)[:, None, None], chased, tracked)


def _refine(
    rng: np.random.Generator, encoding: Encoding, x: np.ndarray, values: np.ndarray, options: np.ndarray
) -> np.ndarray:
    """Moves (N, M, D) of `surrogate`: some start at the best bobcat, and most change only some parameters, or one.

    After DYCORS: R. G. Regis and C. A. Shoemaker, *Combining radial basis function surrogates and dynamic coordinate
    search in high-dimensional expensive black-box optimization*, Engineering Optimization 45(5), 2013.
    """
    n, tries, d = options.shape
    at_best = rng.random((n, tries, 1)) < _FROM_BEST
    start = np.where(at_best, x[np.nanargmin(values)], x[:, None])
    moved = np.where(encoding.is_choice, options, np.clip(start + options - x[:, None], 0.0, 1.0))
    changed = rng.random(options.shape) < rng.choice(_CHANGED, (n, tries, 1))
    changed |= np.arange(d) == rng.integers(d, size=(n, tries, 1))
    return np.where(changed, moved, start)


def _redraw(rules: Rules, rng: np.random.Generator, encoding: Encoding, best: np.ndarray) -> np.ndarray:
    """Moves (N, 2M, D): M to random points, and M that redraw one parameter of the best point (D,).

    M is a third of the candidates.
    """
    shares = rng.random((2, rules.population, math.ceil(rules.candidates / 3), len(best)))
    anywhere, redrawn = np.where(encoding.is_choice, np.floor(shares * encoding.choices), shares)
    column = rng.integers(len(best), size=(*redrawn.shape[:2], 1))
    neighbours = np.where(np.arange(len(best)) == column, redrawn, best)
    return np.concatenate([anywhere, neighbours], axis=1)


def _without_prey(prey: np.ndarray) -> np.ndarray:
    return prey[:, 0, 0] == np.arange(len(prey))


def _first_fresh(log: Log, options: np.ndarray) -> np.ndarray:
    """Index (N,) of the first option of each bobcat that neither a trial nor an earlier bobcat has used, else 0."""
    known = set(_keys(np.concatenate([log.points, log.others])))
    n, tries, d = options.shape
    keys = _keys(options.reshape(n * tries, d))
    picked = np.zeros(n, dtype=int)
    for i in range(n):
        candidates = keys[i * tries : (i + 1) * tries]
        picked[i] = next((j for j, key in enumerate(candidates) if key not in known), 0)
        known.add(candidates[picked[i]])
    return picked


def _keys(points: np.ndarray) -> list[bytes]:
    return [point.tobytes() for point in np.round(points, 9) + 0.0]


def _screen(encoding: Encoding, log: Log, options: np.ndarray, generation: int, few: bool) -> np.ndarray:
    """Index (N,) of the option of each bobcat that the surrogate selects, a Gaussian process for few trials."""
    n, tries, _ = options.shape
    points, tried = encoding.spatial(log.points), encoding.spatial(np.concatenate([log.points, log.others]))
    places = encoding.spatial(options)
    if few:
        return choose_improvements(GaussianProcess(points, log.values, encoding.spatial_parameters), places, tried)
    predicted = Surrogate(points, log.values)(places.reshape(n * tries, -1)).reshape(n, tries)
    return choose_moves(places, predicted, tried, generation)
