"""Search space of a sweep: conversion between Hydra's overrides and Optuna's distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from fer_lightning.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
    from optuna.distributions import BaseDistribution


class SearchSpace(NamedTuple):  # not a dataclass: Hydra executes plugin files without registering them as modules
    """The overrides of a sweep.

    Attributes:
        searched: Distribution of each searched option, by its key on the command line.
        fixed: Overrides that all trials share, without those of Hydra itself.
    """

    searched: dict[str, BaseDistribution]
    fixed: tuple[str, ...]

    def overrides(self, values: dict[str, Any]) -> list[str]:
        """Overrides that set the searched options.

        Args:
            values: One value for each searched option.
        """
        return [f"{key}={values[key]}" for key in self.searched]


def parse_space(overrides: Sequence[Override]) -> SearchSpace:
    """Searched and fixed overrides; the last override of a key takes precedence.

    `interval(a,b)` is a float, `int(interval(a,b))` an integer, both logarithmic with `tag(log,...)`; `range(...)`
    is a stepped number; `choice(...)` and `a,b,c` are categories.

    Args:
        overrides: Overrides as parsed by Hydra.

    Raises:
        UserError: An interval is empty, infinite or logarithmic from zero or below, or a tag is unknown.
    """
    last = {(override.key_or_group, override.package): override for override in overrides}
    searched: dict[str, BaseDistribution] = {}
    fixed = []
    for override in last.values():
        key = override.get_key_element()
        if override.is_sweep_override():
            searched[key] = _distribution(override)
        elif not override.is_hydra_override():
            fixed.append(key if override.is_delete() else f"{key}={override.get_value_element_as_str()}")
    return SearchSpace(searched, tuple(fixed))


def _distribution(override: Override) -> BaseDistribution:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import CategoricalDistribution

    sweep = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            return _interval(sweep)
        if getattr(sweep, "tags", None):
            raise ValueError("only an interval can have a tag")
        if isinstance(sweep, RangeSweep):
            return _range(sweep)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        raise UserError(f"{override.input_line} cannot be searched: {error}.") from error


def _interval(sweep: IntervalSweep) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    assert sweep.start is not None and sweep.end is not None
    if sweep.tags - {"log"}:
        raise ValueError(f"the tag {', '.join(sorted(sweep.tags - {'log'}))} is unknown; the only one is log")
    if not (math.isfinite(sweep.start) and math.isfinite(sweep.end)):
        raise ValueError("both ends of an interval must be finite")
    log = "log" in sweep.tags
    if isinstance(sweep.start, int) and isinstance(sweep.end, int):
        return IntDistribution(sweep.start, sweep.end, log=log)
    return FloatDistribution(sweep.start, sweep.end, log=log)


def _range(sweep: RangeSweep) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    count = len(list(sweep.range()))
    if not count:
        raise ValueError("the range is empty")
    # In decimal arithmetic: 0.1 + 4 * 0.2 is not 0.9 in binary.
    first, step = Decimal(str(sweep.start)), Decimal(str(sweep.step))
    low, high = sorted((first, first + (count - 1) * step))
    if all(isinstance(number, int) for number in (sweep.start, sweep.step)):
        return IntDistribution(int(low), int(high), step=int(abs(step)))
    return FloatDistribution(float(low), float(high), step=float(abs(step)))
