"""What all bobcats try next: a pure function of the rules and of the trials of earlier generations."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from fer_lightning.search import moves
from fer_lightning.search.encoding import Choice, Encoding, Number
from fer_lightning.search.surrogate import Scent, choose_moves

VARIANTS = ("boa", "literal", "paper", "scent")

_AS_PRINTED = ("boa", "literal")


@dataclass(frozen=True)
class Rules:
    """How bobcats move. See `MBOASampler` for what each option means.

    Attributes:
        iterations: Iterations of the whole search, two generations each; None where that is not known.
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
        points: Completed trials. (n, D).
        values: Their objectives, smaller is better. (n,).
        lanes: Which bobcat tried each. (n,).
        others: Failed, pruned and running trials, which are not worth trying again. (m, D).
    """

    points: np.ndarray
    values: np.ndarray
    lanes: np.ndarray
    others: np.ndarray


def scatter(rules: Rules, seed: int, generation: int, name: str, dimension: Number | Choice) -> np.ndarray:
    """Scatters the bobcats over one parameter without knowing of any other.

    Readings:
        - Eq. 14 draws every bobcat on its own; `boa` and `literal` do. `paper` and `scent` place them as a Latin
          hypercube: each lies in another stratum of the parameter, so that few of them cover it.

    Args:
        rules: Of the search.
        seed: Of the search.
        generation: For which one, from 0.
        name: The parameter.
        dimension: How it is encoded.

    Returns:
        (N,) coordinates of the bobcats.
    """
    rng = np.random.default_rng([seed, generation, crc32(name.encode())])
    if rules.variant in _AS_PRINTED:
        return dimension.between_limits(rng.random(rules.population))
    strata = rng.permutation(rules.population)
    return dimension.spread((strata + rng.random(rules.population)) / rules.population)


def plan(rules: Rules, seed: int, generation: int, encoding: Encoding, log: Log) -> np.ndarray:
    """Returns the points (N, D) that the bobcats try in a generation, from 1; odd ones explore, even ones exploit.

    Readings:
        - The paper moves "in each iteration" with "exploration and exploitation" and compares in between (eq. 17), so
          an iteration is two generations: 2g - 1 explores and 2g exploits, both with t = g.
        - All bobcats of a generation move at once, from where the generation before left them. The paper does not say
          whether a bobcat already sees the moves of those before it; at once, they can be trained in parallel.
        - Positions are what was tried: a batch size is whole, so the next move starts at the whole number.
        - A bobcat without a completed trial is scattered anew.
        - A categorical parameter is not moved but chosen, each with probability 1/2 in exploration (it copies one of
          its prey) and 1 / (1 + t) in exploitation (it is drawn anew).
        - `paper` and `scent`: the best bobcat has no prey to track and chases instead, as training the same again
          would tell nothing. For the same reason each draws `candidates` moves, and `paper` makes the first that was
          not tried yet. `literal` and `boa` repeat themselves as printed.
    """
    n = rules.population
    scattered = [
        scatter(rules, seed, generation, name, dimension)
        for name, dimension in zip(encoding.names, encoding.dimensions)
    ]
    start = np.stack(scattered, axis=-1)
    standing = moves.accept(log.values, log.lanes, n)
    alive = standing >= 0
    if not alive.any():
        return start
    x, values = start.copy(), np.full(n, np.nan)
    x[alive], values[alive] = log.points[standing[alive]], log.values[standing[alive]]

    # Every draw has the same shape whatever succeeded, so that no bobcat's luck depends on another's.
    rng = np.random.default_rng([seed, generation])
    tries = 1 if rules.variant in _AS_PRINTED else rules.candidates
    count = rules.num_prey if rules.variant in ("paper", "scent") else 1
    prey = moves.choose_prey(moves.better(values), rng.random((n, tries, n)), count)
    if rules.variant in _AS_PRINTED:
        numbers = _as_printed(rules, rng, encoding, x, x[prey], generation)
    else:
        numbers = _normalised(rules, rng, x, prey, generation)
    options = np.where(encoding.is_choice, _choices(rules, rng, encoding, x, prey, generation), numbers)
    options[~alive] = start[~alive, None]
    if rules.variant in _AS_PRINTED:
        return options[:, 0]
    options = encoding.snap(options)
    picked = _sniff(encoding, log, options, generation) if rules.variant == "scent" else _first_fresh(log, options)
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
    own = np.broadcast_to(x[:, None], r.shape)
    moved = chased = moves.chase(own, r, t, 1.0)
    if generation % 2:
        weight = moves.exploration_weight(rules.weight, t, rules.iterations)
        alone = _without_prey(prey)
        moved = np.where(alone[:, None, None], chased, moves.track(own, x[prey], gamma, weight))
    return np.clip(moved, 0.0, 1.0)


def _choices(
    rules: Rules, rng: np.random.Generator, encoding: Encoding, x: np.ndarray, prey: np.ndarray, generation: int
) -> np.ndarray:
    """What each bobcat would choose for the categorical parameters; (N, M, D) indices."""
    n, tries, count = prey.shape
    d = x.shape[1]
    t = (generation + 1) // 2
    chance, whose, anew = rng.random((3, n, tries, d))
    own = np.broadcast_to(x[:, None], anew.shape)
    copied = np.take_along_axis(x[prey], np.floor(whose * count).astype(int)[..., None, :], axis=-2)[..., 0, :]
    drawn = np.floor(anew * encoding.choices)
    chased = np.where(chance < 1 / (1 + t), drawn, own)
    if generation % 2 == 0:
        return chased
    tracked = np.where(chance < 0.5, copied, own)
    if rules.variant in _AS_PRINTED:
        return tracked
    return np.where(_without_prey(prey)[:, None, None], chased, tracked)


def _without_prey(prey: np.ndarray) -> np.ndarray:
    return prey[:, 0, 0] == np.arange(len(prey))


def _first_fresh(log: Log, options: np.ndarray) -> np.ndarray:
    """Index (N,) of the first option of each bobcat that is neither tried nor taken by one before it, else 0."""
    known = set(_keys(np.concatenate([log.points, log.others])))
    n, tries, d = options.shape
    keys = _keys(options.reshape(n * tries, d))
    picked = np.zeros(n, dtype=int)
    for i in range(n):
        own = keys[i * tries : (i + 1) * tries]
        picked[i] = next((j for j, key in enumerate(own) if key not in known), 0)
        known.add(own[picked[i]])
    return picked


def _keys(points: np.ndarray) -> list[bytes]:
    return [point.tobytes() for point in np.round(points, 9) + 0.0]


def _sniff(encoding: Encoding, log: Log, options: np.ndarray, generation: int) -> np.ndarray:
    """Index (N,) of the option of each bobcat that smells best."""
    n, tries, _ = options.shape
    points, tried = encoding.spatial(log.points), encoding.spatial(np.concatenate([log.points, log.others]))
    places = encoding.spatial(options)
    predicted = Scent(points, log.values)(places.reshape(n * tries, -1)).reshape(n, tries)
    return choose_moves(places, predicted, tried, generation)
