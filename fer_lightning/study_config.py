"""What the config of a study says beside its runs: what it shows, and which runs it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer_lightning.cli import conf_dir
from fer_lightning.errors import UserError


@dataclass(frozen=True)
class StudyConfig:
    """A composed study.

    Attributes:
        budget: Name of its budget.
        report: Its `report:` block as plain values, or None where it has none.
        swept: The options in which its runs differ; empty for a search.
        grid: One tuple of overrides a run, in the order in which they run; empty for a search.
        folder: Name of the folder into which it trains.
    """

    budget: str
    report: dict[str, Any] | None
    swept: tuple[str, ...]
    grid: list[tuple[str, ...]]
    folder: str


def compose_study(name: str, budget: str | None, config_dir: Path | None, data: str | None = None) -> StudyConfig:
    """Composes `conf/train.yaml` once more, with a study.

    Args:
        name: As in `study=`.
        budget: As in `budget=`; None for the default.
        config_dir: Where further configs are, or None.
        data: As in `data=`; None for that of the study.
    """
    typed = {"study": name, "budget": budget, "data": data}
    overrides = [f"{key}={value}" for key, value in typed.items() if value]
    if config_dir is not None:
        overrides.append(f"hydra.searchpath=['file://{config_dir.absolute()}']")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"), _refusing(name):
        cfg = compose("train", overrides, return_hydra_config=True)
        report = OmegaConf.to_container(cfg.report, resolve=True) if "report" in cfg else None
        is_grid = cfg.hydra.runtime.choices["hydra/sweeper"] == "basic"
        params = _params(cfg) if is_grid else {}
        assert report is None or isinstance(report, dict)
        shown = {str(key): value for key, value in report.items()} if report else None
        return StudyConfig(cfg.budget, shown, tuple(params), _grid(params), Path(cfg.hydra.sweep.dir).name)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """A study that is not in `conf/`, or whose config cannot be composed, is a sentence."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        told = " ".join(str(error).split())[:300]
        raise UserError(f"study={name} cannot be composed, give --config-dir where it is your own: {told}") from error


def _params(cfg: DictConfig) -> Mapping[str, str]:
    params = OmegaConf.to_container(cfg.hydra.sweeper.params or OmegaConf.create(), resolve=True)
    assert isinstance(params, dict)
    return {str(key): str(value) for key, value in params.items()}


def _grid(params: Mapping[str, str]) -> list[tuple[str, ...]]:
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    choices = []
    for key, values in params.items():
        override = parser.parse_override(f"{key}={values}")
        swept = override.is_sweep_override()
        each = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
        choices.append([f"{key}={value}" for value in each])
    return list(product(*choices)) if choices else []
