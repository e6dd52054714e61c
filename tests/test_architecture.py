"""The house: which room may import which, and what each room may need."""

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
# Each row imports only what stands below it; rooms of one row do not import each other.
ORDER = (
    ("commands",),
    ("benchmark",),
    ("deploy",),
    ("studies", "explain", "inference", "search"),
    ("training",),
    ("evaluation",),
    ("data", "plots"),
    ("results",),
    ("models",),
    ("layers",),
    ("files",),
    ("errors",),
)
RANK = {room: rank for rank, row in enumerate(ORDER) for room in row}
# What commands share or import late: stored configs, the objects that configs describe, the ends of runs and studies.
SHARED_BY_COMMANDS = {"finish", "instantiate", "option_checks", "stored_config", "study_report"}
# The command line: starts the commands, which take the syntax of overrides and the words of errors from it.
COMMAND_LINE = {"__main__", "cli", "error_messages", "overrides"}
HEAVY = {"torch", "torchvision", "torchmetrics", "pytorch_lightning", "timm"}
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "components", "tools", "base"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    """The first folder below the package; of a file at its root, the file."""
    return name_of(path).partition("/")[0].removesuffix(".py")


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
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def packages_of(path: Path) -> set[str]:
    """Top-level packages from outside the standard library."""
    return {name.partition(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names)


def rooms_of(path: Path) -> set[str]:
    """Rooms of this package that a file imports, for example `data`; its own among them."""
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("fer_lightning.")} - {"__version__"}


def files_of(*rooms: str) -> list[Path]:
    return [path for path in FILES if room_of(path) in rooms]


def reached_from(path: Path) -> set[Path]:
    """A file and every file of this package that is imported with it, or by a function of it."""
    reached: set[Path] = set()
    waiting = {path}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        files = {PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py") for name in imports_of(path)}
        waiting |= {file for file in files if file.is_file()} - reached
    return reached


def test_the_walk_sees_the_package():
    assert len(FILES) > 40
    assert rooms_of(PACKAGE / "models" / "psysfa_net.py") == {"models", "layers", "errors"}
    assert "hydra" in packages_of(PACKAGE / "cli.py")  # imported inside a function


def test_every_file_has_a_room():
    assert {room_of(path) for path in FILES} == {*RANK, "losses", *COMMAND_LINE, "__init__"}


def test_rooms_import_only_what_stands_below_them():
    for path in FILES:
        room = room_of(path)
        if room not in RANK:
            continue
        allowed = {room, *(other for other in RANK if RANK[other] > RANK[room])}
        allowed |= {"error_messages", "overrides"} if room == "commands" else set()
        assert rooms_of(path) <= allowed, name_of(path)


def test_losses_stand_alone():
    for path in files_of("losses"):
        assert rooms_of(path) <= {"losses", "errors"}, name_of(path)
        assert packages_of(path) <= {"torch", "fer_lightning", "lazy_loader"}, name_of(path)


def test_the_command_line_needs_no_room_at_its_start():
    """Whatever the command, `fer --help` and mistakes in options are answered at once."""
    for path in files_of(*COMMAND_LINE, "files", "errors", "__init__"):
        own = {name.split(".")[1] for name in imports_at_start_of(path) if name.startswith("fer_lightning.")}
        assert own <= {*COMMAND_LINE, "files", "errors"}, name_of(path)


def test_commands_import_each_other_only_through_what_they_share():
    for path in files_of("commands"):
        own = {name.split(".")[2] for name in imports_of(path) if name.startswith("fer_lightning.commands.")}
        assert own <= SHARED_BY_COMMANDS, name_of(path)


def test_only_commands_see_the_config():
    for path in FILES:
        if room_of(path) not in {"commands", *COMMAND_LINE}:
            assert not packages_of(path) & {"hydra", "omegaconf"}, name_of(path)


def test_nets_need_torch_and_timm_alone():
    for path in files_of("layers", "models"):
        assert packages_of(path) <= {"torch", "timm", "fer_lightning", "lazy_loader"}, name_of(path)


@pytest.mark.parametrize("room", ["results", "plots", "search", "studies"])
def test_what_is_computed_from_records_needs_no_torch(room):
    """Not even through another part of this package that imports it."""
    for path in files_of(room):
        for reached in reached_from(path):
            assert not packages_of(reached) & HEAVY, f"{name_of(path)} reaches {name_of(reached)}"


def test_the_start_of_hydra_waits_for_nothing_heavy():
    """It imports every module of its plugins, whatever the command."""
    assert {path.name for path in PLUGINS} >= {"__init__.py", "experiment_file.py", "space.py", "sweeper.py"}
    for path in PLUGINS:
        imported = imports_at_start_of(path)
        assert not {name.partition(".")[0] for name in imported} & {"optuna", "torch", "numpy", "scipy"}, path.name
        assert not {name for name in imported if name.startswith("fer_lightning.search.")}, path.name


def test_files_are_named_for_what_they_hold():
    for path in FILES:
        assert path.stem not in VAGUE and path.parent.name not in VAGUE, name_of(path)


def test_the_house_stays_small():
    sizes = sorted(len(path.read_text().splitlines()) for path in FILES if path.name != "__init__.py")
    assert len(sizes) <= 195
    assert sizes[len(sizes) // 2] >= 120
    assert sizes[-1] <= 400
    assert len([path for path in FILES if path.parent == PACKAGE and path.name != "__init__.py"]) <= 8


def test_the_package_itself_imports_nothing_heavy():
    for file in ("__init__.py", "errors.py"):
        at_start = {name.partition(".")[0] for name in imports_at_start_of(PACKAGE / file)}
        assert not at_start - {*sys.stdlib_module_names, "lazy_loader"}, file
