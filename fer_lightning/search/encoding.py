"""Encoding of search spaces as points of a unit cube."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from fer_lightning.search import moves


class Number:
    """A numeric parameter as a coordinate in [0, 1].

    The coordinate of a logarithmic parameter is logarithmic. Each value of an integer or stepped parameter has a bin of
    equal width, half a step to either side, so that the first and the last are as likely as the others; the bin of a
    logarithmic integer is from half below it to half above it. A parameter with a single value is at 0.5.

    Args:
        distribution: Distribution of the parameter.

    Attributes:
        limits: Smallest and largest value on the scale that the paper moves on: log10 of the value if the
            parameter is logarithmic (as in its pseudocode for the learning rate), else the value.
        edges: Values of the coordinates 0 and 1 on the same scale: the outer edges of the outer bins.
    """

    def __init__(self, distribution: FloatDistribution | IntDistribution) -> None:
        self.low, self.high, self.step = distribution.low, distribution.high, distribution.step
        self.log = distribution.log
        self.whole = isinstance(distribution, IntDistribution)
        margin = 0.0 if self.step is None else self.step / 2
        self.limits = (float(self._scaled(self.low)), float(self._scaled(self.high)))
        self.edges = (float(self._scaled(self.low - margin)), float(self._scaled(self.high + margin)))

    def encode(self, values: Any) -> np.ndarray:
        """Coordinates of values, any shape."""
        low, high = self.edges
        if self.limits[0] == self.limits[1]:
            return np.full(np.shape(values), 0.5)
        return (self._scaled(values) - low) / (high - low)

    def nearest(self, coordinates: np.ndarray) -> np.ndarray:
        """Values, as floats, whose bins contain the coordinates, any shape."""
        low, high = self.edges
        scaled = low + np.asarray(coordinates, dtype=float) * (high - low)
        values = 10.0**scaled if self.log else scaled
        if self.step is not None:
            values = self.low + np.floor((values - self.low) / self.step + 0.5) * self.step
        return np.clip(values, self.low, self.high)

    def decode(self, coordinate: float) -> int | float:
        """Value at a coordinate, as Optuna stores it."""
        value = float(self.nearest(np.asarray(coordinate)))
        return round(value) if self.whole else value

    def snap(self, coordinates: np.ndarray) -> np.ndarray:
        """Coordinates of the values nearest to coordinates, any shape."""
        return self.encode(self.nearest(coordinates))

    def spread(self, shares: np.ndarray) -> np.ndarray:
        """Coordinates at shares in [0, 1] of the range of all bins."""
        return shares

    def between_limits(self, shares: np.ndarray) -> np.ndarray:
        """Coordinates at shares in [0, 1] of the range from the smallest to the largest value (eq. 14)."""
        (low, high), (first, last) = self.limits, self.edges
        if low == high:
            return np.full(np.shape(shares), 0.5)
        return (moves.initial(low, high, shares) - first) / (last - first)

    def _scaled(self, values: Any) -> np.ndarray:
        return np.log10(values) if self.log else np.asarray(values, dtype=float)


class Choice:
    """A categorical parameter as the index of its choice; choices have no order.

    Args:
        distribution: Distribution of the parameter.
    """

    def __init__(self, distribution: CategoricalDistribution) -> None:
        self.distribution = distribution
        self.count = len(distribution.choices)
        self.limits = self.edges = (0.0, 1.0)

    def encode(self, value: Any) -> np.ndarray:
        """Index of a choice."""
        return np.asarray(self.distribution.to_internal_repr(value), dtype=float)

    def decode(self, coordinate: float) -> Any:
        """Choice at an index."""
        return self.distribution.choices[int(coordinate)]

    def snap(self, coordinates: np.ndarray) -> np.ndarray:
        """Unchanged indices."""
        return coordinates

    def spread(self, shares: np.ndarray) -> np.ndarray:
        """Indices at shares in [0, 1] of all choices."""
        return np.minimum(np.floor(shares * self.count), self.count - 1)

    def between_limits(self, shares: np.ndarray) -> np.ndarray:
        """Same as `spread`, because choices have no limits."""
        return self.spread(shares)


def dimension_of(distribution: BaseDistribution) -> Number | Choice:
    """Encoding of a parameter."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(distribution)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return Number(distribution)


class Encoding:
    """A search space as a unit cube; each column of a point is one parameter, in the order of the space.

    Args:
        space: Distribution of each parameter, at least one.

    Attributes:
        names: Names of the parameters.
        dimensions: Encoding of each parameter.
        is_choice: Mask (D,) of categorical parameters, whose columns hold an index instead of a coordinate.
        choices: Number of choices (D,) of each categorical parameter, 1 for the others.
        limits: Smallest and largest values (2, D) on the scale of the paper, see `Number`.
        spatial_parameters: Index of the parameter of each column of `spatial`.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.names = list(space)
        self.dimensions = [dimension_of(distribution) for distribution in space.values()]
        self.is_choice = np.array([isinstance(dimension, Choice) for dimension in self.dimensions])
        self.choices = np.array([d.count if isinstance(d, Choice) else 1 for d in self.dimensions])
        numbers, categorical = np.flatnonzero(~self.is_choice), np.flatnonzero(self.is_choice)
        self.spatial_parameters = np.append(numbers, np.repeat(categorical, self.choices[categorical]))
        self.limits = np.array([dimension.limits for dimension in self.dimensions]).T
        self._edges = np.array([dimension.edges for dimension in self.dimensions]).T
        self._widths = self._edges[1] - self._edges[0]

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """Point (D,) of the parameters of a trial."""
        return np.array([dim.encode(params[name]) for name, dim in zip(self.names, self.dimensions)], dtype=float)

    def decode(self, point: np.ndarray) -> dict[str, Any]:
        """Parameters at a point (D,), as Optuna stores them."""
        return {name: dim.decode(at) for name, dim, at in zip(self.names, self.dimensions, point)}

    def snap(self, points: np.ndarray) -> np.ndarray:
        """Nearest valid points (..., D), which respect integers, steps and bounds."""
        columns = [dim.snap(points[..., column]) for column, dim in enumerate(self.dimensions)]
        return np.stack(columns, axis=-1)

    def to_paper(self, points: np.ndarray) -> np.ndarray:
        """Points (..., D) on the scale of the paper, see `Number.limits`."""
        return self._edges[0] + points * self._widths

    def from_paper(self, positions: np.ndarray) -> np.ndarray:
        """Points (..., D) of positions on the scale of the paper."""
        widths = np.where(self._widths == 0, 1.0, self._widths)
        return np.where(self._widths == 0, 0.5, (positions - self._edges[0]) / widths)

    def spatial(self, points: np.ndarray) -> np.ndarray:
        """Points (..., D) as coordinates with distances: 1 between two choices and between the ends of a range."""
        columns = [points[..., ~self.is_choice]]
        for column in np.flatnonzero(self.is_choice):
            columns.append((points[..., column, None] == np.arange(self.choices[column])) / np.sqrt(2))
        return np.concatenate(columns, axis=-1)
