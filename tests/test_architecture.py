"""The arrows of the house: which part may import which."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import fer_lightning

PACKAGE = Path(fer_lightning.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
PLUGINS = sorted((PACKAGE.parent / "hydra_plugins" / "fer_sweeper").rglob("*.py"))
BLOCKS = ("data", "layers", "models", "losses")
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "components", "tools", "base"}

# A checkpoint names the class of its network; Hydra finds it.
KNOWN_HYDRA_OUTSIDE_ENTRY_POINTS = {"training/checkpoint.py"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports_of(path: Path) -> set[str]:
    """Every module a file imports anywhere, with what `from package import module` brings in."""
    return imported_by(path, ast.walk(ast.parse(path.read_text())))


def imports_at_start_of(path: Path) -> set[str]:
    """Every module that is imported with a file, not first in a function of it or for the type checker alone."""
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        unchecked = node.orelse if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else None
        nodes += ast.iter_child_nodes(node) if unchecked is None else unchecked
    return imported_by(path, nodes)


def imported_by(path: Path, nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module))
            if node.module == "fer_lightning":
                found |= {f"fer_lightning.{alias.name}" for alias in node.names}
    return found


def packages_of(path: Path) -> set[str]:
    """Top-level packages from outside the standard library."""
    return {name.partition(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names)


def parts_of(path: Path) -> set[str]:
    """Parts of this package that a file imports, for example `data`."""
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("fer_lightning.")}


def files_of(part: str) -> list[Path]:
    return [path for path in FILES if name_of(path).startswith(f"{part}/")]


def test_the_walk_sees_the_package():
    assert len(FILES) > 40
    assert parts_of(PACKAGE / "models" / "psysfa_net.py") == {"layers", "errors"}
    assert "hydra" in packages_of(PACKAGE / "cli.py")  # imported inside a function


@pytest.mark.parametrize("part", BLOCKS)
def test_building_blocks_do_not_know_each_other(part):
    allowed = {part, "errors"} | ({"layers"} if part == "models" else set())
    for path in files_of(part):
        assert parts_of(path) <= allowed, name_of(path)


@pytest.mark.parametrize("part", ["layers", "models"])
def test_nets_need_torch_and_timm_alone(part):
    for path in files_of(part):
        assert packages_of(path) <= {"torch", "timm", "fer_lightning"}, name_of(path)


def test_losses_need_torch_alone():
    for path in files_of("losses"):
        assert packages_of(path) <= {"torch", "fer_lightning"}, name_of(path)


def reached_from(path: Path) -> set[Path]:
    """A file and every file of this package that is imported with it."""
    reached: set[Path] = set()
    waiting = {path}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        files = {PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py") for name in imports_of(path)}
        waiting |= {file for file in files if file.is_file()} - reached
    return reached


def test_reports_are_computed_without_torch():
    """Not even through another part of this package that imports it."""
    for path in files_of("report"):
        assert parts_of(path) <= {"report", "evaluation", "errors"}, name_of(path)
        for reached in reached_from(path):
            heavy = packages_of(reached) & {"torch", "torchvision", "torchmetrics", "pytorch_lightning", "timm"}
            assert not heavy, f"{name_of(path)} reaches {name_of(reached)}"


def test_searches_need_optuna_numpy_and_scipy_alone():
    for path in files_of("search"):
        assert parts_of(path) <= {"search", "errors"}, name_of(path)
        storage = {"sqlalchemy"} if name_of(path) == "search/storage.py" else set()
        assert packages_of(path) <= {"numpy", "scipy", "optuna", "fer_lightning"} | storage, name_of(path)


def test_the_start_of_hydra_waits_for_nothing_heavy():
    """It imports every module of its plugins, whatever the command."""
    assert {path.name for path in PLUGINS} >= {"__init__.py", "experiment_file.py", "space.py", "sweeper.py"}
    for path in PLUGINS:
        imported = imports_at_start_of(path)
        assert not {name.partition(".")[0] for name in imported} & {"optuna", "torch", "numpy", "scipy"}, path.name
        assert not {name for name in imported if f"{name}.".startswith("fer_lightning.search.")}, path.name


def test_only_entry_points_see_the_config():
    for path in FILES:
        name = name_of(path)
        if "/" in name and name not in KNOWN_HYDRA_OUTSIDE_ENTRY_POINTS:
            assert not packages_of(path) & {"hydra", "omegaconf"}, name


def test_nothing_imports_the_entry_points():
    entry_points = {path.stem for path in FILES if "/" not in name_of(path)} - {"__init__", "__main__", "errors"}
    for path in FILES:
        if "/" in name_of(path):
            assert not parts_of(path) & entry_points, name_of(path)


def test_training_composes_data_and_evaluation_but_no_net():
    for path in files_of("training"):
        assert parts_of(path) <= {"training", "data", "evaluation", "report", "errors"}, name_of(path)


def test_explanations_know_no_deployment():
    for path in files_of("explain"):
        allowed = {"explain", "models", "layers", "data", "training", "evaluation", "report", "errors"}
        assert parts_of(path) <= allowed, name_of(path)


def test_deployment_composes_all_but_training_runs():
    for path in files_of("deploy"):
        allowed = {"deploy", "explain", "data", "training", "evaluation", "report", "errors"}
        assert parts_of(path) - {"__version__"} <= allowed, name_of(path)


def test_files_are_named_for_what_they_hold():
    for path in FILES:
        assert path.stem not in VAGUE and path.parent.name not in VAGUE, name_of(path)


def test_the_package_itself_imports_nothing_heavy():
    for file in ("__init__.py", "errors.py"):
        at_start = {name.partition(".")[0] for name in imports_at_start_of(PACKAGE / file)}
        assert not at_start - set(sys.stdlib_module_names), file
