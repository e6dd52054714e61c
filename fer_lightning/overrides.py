"""Command-line options in Hydra's grammar, with paths quoted so that they are read literally."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_lightning.errors import UserError, require_known

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser

# Options whose value is a path, by name; by the last word of a dotted name; and those whose value is a list of paths.
PATHS = {"source", "checkpoint", "init", "resume", "path", "image", "frames", "int8", "output_dir", "attributes"}
PATHS |= {"peer_python", "peer_node_modules"}
PATHS_OF_GROUPS = {"root", "cache_dir", "landmark_model", "pretrained", "dir", "subdir", "save_dir", "default_root_dir"}
PATHS_OF_GROUPS |= {"folder", "storage"}
PATH_LISTS = {"checkpoints", "teacher"}
# Options that accept `last`, the newest run, and whether that run must be finished.
LAST = {"resume": False, "init": True, "checkpoint": True, "teacher": True}

_OVERRIDE = re.compile(r"(\+{0,2})([A-Za-z_$][\w$./@-]*)=(.*)", re.DOTALL | re.ASCII)
WITHOUT_RUNS = {"wandb", "mlflow", "tensorboard", "csv", "checkpoints", "figures", ".hydra"}


def is_path(name: str) -> bool:
    """Whether the option with this dotted name holds a path."""
    group, _, word = name.rpartition(".")
    return word in PATHS_OF_GROUPS if group else word in PATHS


def prepare(arguments: Sequence[str]) -> list[str]:
    """Arguments of a command in Hydra's grammar.

    The value of an option that holds a path is taken literally if such a path exists. If not, a value quoted for Hydra,
    an interpolation such as `${oc.env:HOME}/faces`, `null` and, in a multirun, several values are read by Hydra;
    everything else is literal.

    Args:
        arguments: Arguments after the command, including flags of Hydra.

    Raises:
        UserError: A path is empty, or Hydra's grammar cannot read an argument.
    """
    from hydra._internal.utils import get_args_parser

    options = get_args_parser().parse_args(list(arguments))
    if options.shell_completion:
        return list(arguments)
    added = _debug_options(options.overrides)
    arguments, typed = [*added, *arguments], {*added, *options.overrides}
    # A study runs its own grid.
    several = options.multirun or any(argument.startswith(("study=", "hydra.mode=")) for argument in typed)
    return [_prepare(argument, several) if argument in typed else argument for argument in arguments]


def _debug_options(typed: Sequence[str]) -> list[str]:
    """Options that `debug=...` stands for, see `conf/debug.yaml`, without those that were typed beside it.

    Raises:
        UserError: The choice is unknown.
    """
    choice = next((option.partition("=")[2] for option in typed if option.startswith("debug=")), "null")
    if choice == "null":
        return []
    import yaml

    from fer_lightning.files import conf_dir

    choices = yaml.safe_load((conf_dir() / "debug.yaml").read_text())
    require_known("debug", choice, choices)
    names = {option.lstrip("+~").partition("=")[0] for option in typed}
    return [option for option in choices[choice] if option.lstrip("+").partition("=")[0] not in names]


def in_folder_of_resumed_run(prepared: Sequence[str]) -> list[str]:
    """Sets the output folder of a resumed run to the folder of that run.

    Args:
        prepared: Result of `prepare`.

    Raises:
        UserError: `resume` is not the folder of a run.
    """
    from omegaconf import OmegaConf

    for place, argument in enumerate(prepared, start=1):
        if argument.startswith("resume=") and argument != "resume=null":
            folder = OmegaConf.create({"folder": _parser().parse_override(argument).value()}).folder
            if not (Path(folder) / "config.yaml").is_file():
                raise UserError(f"resume={folder} must be the folder of a run; it has no config.yaml.")
            return [
                *prepared[:place],
                path_override("hydra.run.dir", folder),
                "hydra.output_subdir=null",
                *prepared[place:],
            ]
    return list(prepared)


def path_override(name: str, path: str) -> str:
    """Override that sets an option to exactly this path.

    Raises:
        UserError: Hydra would replace a part of the path of an output folder.
    """
    if name.startswith("hydra.") and "${" in path:
        raise UserError(
            f"{name}={path} must not contain '${{', which Hydra replaces in output folders: use another name."
        )
    # Values that Hydra reads literally are not quoted, which keeps the records of runs readable.
    return f"{name}={path if _parsed(path) == path and '${' not in path else _quoted(path)}"


def literal(values: Any) -> Any:
    """Plain values, escaped so that a config returns them unchanged: `${` in a text is not an interpolation."""
    if isinstance(values, dict):
        return {name: literal(value) for name, value in values.items()}
    if isinstance(values, list):
        return [literal(value) for value in values]
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", values) if isinstance(values, str) else values


def last_run(option: str, finished: bool) -> str:
    """Folder of the newest run of `fer train` below `outputs`.

    Args:
        option: Name of the option, for messages.
        finished: Whether the run must be finished.

    Raises:
        UserError: There is no such run.
    """
    newest, changed = None, -1.0
    for place, folders, files in os.walk("outputs"):
        folders[:] = [name for name in folders if name not in WITHOUT_RUNS]
        folder = Path(place)
        began = [path for path in (folder / "checkpoints/last.ckpt", folder / "metrics.json") if path.is_file()]
        if "config.yaml" not in files or not began or (finished and folder / "metrics.json" not in began):
            continue
        if (time := max(path.stat().st_mtime for path in began)) > changed:
            newest, changed = place, time
    if newest is None:
        raise UserError(
            f"{option}=last needs a {'finished ' * finished}run in outputs/; none was found: run fer train first."
        )
    return newest


def grid_runs(options: Sequence[str]) -> list[list[str]]:
    """Options of each run of a grid, in the order of the runs.

    Args:
        options: Options of the grid, of which some have several values, in a session of Hydra.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    runs: list[list[str]] = BasicSweeper.split_arguments(parser.parse_overrides(list(options)), None)[0]
    return runs


def _prepare(argument: str, several: bool) -> str:
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        if argument.startswith("~") and _is_override(argument):
            return argument
        raise UserError(
            f"{argument!r} is not an option: use name=value, for example seed=1, and quote a value with spaces."
        )
    sign, name, value = match.groups()
    several_paths = name.rpartition(".")[2] in PATH_LISTS
    is_list = value.startswith("[") and value.endswith("]") and not os.path.lexists(value)
    if is_path(name) or (several_paths and not is_list):
        return sign + _path(name, value, several)
    if several_paths:
        paths = [_path(name, path, several=False).partition("=")[2] for path in _split(value[1:-1])]
        return f"{sign}{name}=[{','.join(paths)}]"
    if not _is_override(argument):
        quoted = shlex.quote(
            f"{sign}{name}=" + (f'"{value}"' if value.isprintable() and '"' not in value else _quoted(value))
        )
        raise UserError(
            f"{argument!r} cannot be parsed: close its brackets and quotes, or, for a literal value, quote it for "
            f"Hydra too: {quoted}"
        )
    return argument


def _path(name: str, value: str, several: bool) -> str:
    if not value.strip() and not os.path.lexists(value):
        raise UserError(
            f"{name} must be a path; got an empty value (is the variable set?): use a path, or omit {name}."
        )
    if len(value) > 2 and value[0] == value[-1] and value[0] in "'\"" and os.path.lexists(value[1:-1]):
        value = value[1:-1]  # Lightning passes the output folder to its processes in quotes
    elif not os.path.lexists(value):
        if name in LAST and value == "last":
            return path_override(name, last_run(name, LAST[name]))
        if value.lower() == "null" and not name.startswith("hydra."):
            return f"{name}=null"
        if several and not name.startswith("hydra.") and len(values := _split(value)) > 1:
            return f"{name}={','.join(_path(name, path, several=False).partition('=')[2] for path in values)}"
        if _interpolates(value):
            return f"{name}={value if _is_override(f'x={value}') else _hydra_quotes(value)}"
        if _has_syntax(_parsed(value), in_hydra=name.startswith("hydra.")):
            return f"{name}={value}"
        value = os.path.expanduser(value)  # noqa: PTH111 (pathlib fails on unknown users, such as ~x)
    elif value.startswith("~"):
        value = os.path.join(os.getcwd(), value)  # noqa: PTH109, PTH118 (the code would expand it)
    return path_override(name, value)


def _has_syntax(parsed: Any, in_hydra: bool) -> bool:
    """Whether a value is quoted, or a function such as `glob(...)`, rather than a path."""
    from hydra.core.override_parser.types import ChoiceSweep, QuotedString, Sweep

    if isinstance(parsed, QuotedString):
        return True
    simple = isinstance(parsed, ChoiceSweep) and parsed.simple_form
    return isinstance(parsed, Sweep) and not simple and not in_hydra


def _interpolates(value: str) -> bool:
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar_parser import parse

    if not re.search(r"(?<!\\)(\\\\)*\$\{", value):
        return False
    try:
        parse(value)
    except GrammarParseError:
        return False
    return True


def _split(values: str) -> list[str]:
    """Values between commas; commas in quotes or brackets do not separate."""
    parts, start, depth, quote = [], 0, 0, ""
    for place, sign in enumerate(values):
        if quote:
            quote = "" if sign == quote and values[place - 1] != "\\" else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif sign == "," and not depth:
            parts.append(values[start:place].strip())
            start = place + 1
    return [*parts, values[start:].strip()] if values.strip() else []


def _parsed(value: str) -> Any:
    """Value as parsed by Hydra; None if it is null or cannot be parsed."""
    return _parser().parse_override(f"x={value}")._value if _is_override(f"x={value}") else None


def _is_override(text: str) -> bool:
    from hydra.errors import HydraException

    try:
        _parser().parse_override(text)
    except HydraException:
        return False
    return True


@cache
def _parser() -> OverridesParser:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _quoted(text: str) -> str:
    """Text in Hydra's quotes, escaped so that OmegaConf replaces nothing in it."""
    return _hydra_quotes(literal(text))


def _hydra_quotes(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()
