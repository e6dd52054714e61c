"""What a sweep searches: Hydra's overrides as Optuna's distributions, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fer_lightning.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution


class SearchSpace(NamedTuple):  # no dataclass: Hydra runs plugin files without registering them as modules
    """The overrides of a sweep.

    Attributes:
        searched: The distribution of each option that varies, by its key on the command line.
        fixed: Overrides that every trial shares, as typed; those of Hydra itself are left out.
    """

    searched: dict[str, BaseDistribution]
    fixed: tuple[str, ...]

    def overrides(self, values: dict[str, Any]) -> list[str]:
        """The override of each searched option that gives it its value.

        Args:
            values: One value for each searched option.
        """
        return [f"{key}={values[key]}" for key in self.searched]


def parse_space(overrides: Sequence[Override]) -> SearchSpace:
    """Sorts overrides into those that are searched and those that are fixed; of one key, the last one counts.

    `interval(a,b)` is a float, `int(interval(a,b))` a whole number, `range(...)` a stepped number, each of them
    logarithmic with `tag(log,...)`; `choice(...)` and `a,b,c` are categories.

    Args:
        overrides: Parsed by Hydra.

    Raises:
        UserError: An interval is empty, or logarithmic from zero or below.
    """
    searched: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        searched.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            searched[key] = _distribution(key, override)
        elif not override.is_hydra_override():
            fixed[key] = key if override.is_delete() else f"{key}={override.get_value_element_as_str()}"
    return SearchSpace(searched, tuple(fixed.values()))


def _distribution(key: str, override: Override) -> BaseDistribution:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            assert sweep.start is not None and sweep.end is not None
            log = "log" in sweep.tags
            if isinstance(sweep.start, int) and isinstance(sweep.end, int):
                return IntDistribution(sweep.start, sweep.end, log=log)
            return FloatDistribution(sweep.start, sweep.end, log=log)
        if isinstance(sweep, RangeSweep):
            values = list(sweep.range())
            if not values:
                raise ValueError("the range is empty")
            step = values[1] - values[0] if len(values) > 1 else 1
            if all(isinstance(value, int) for value in values):
                return IntDistribution(min(values), max(values), step=abs(int(step)))
            return FloatDistribution(float(min(values)), float(max(values)), step=abs(float(step)))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        raise UserError(f"{override.input_line} cannot be searched: {error}.") from error
