"""Checks of the options of a composed config: names, types and ranges, and whether the files they name exist.

Inputs of a command are checked before packages that take seconds to import.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import sys
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from fer_lightning.data.layouts import require_root
from fer_lightning.error_messages import did_you_mean, option_names
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.overrides import is_path
from fer_lightning.training.safetensors_weights import find_checkpoint

# Types of options whose default is null; other options have the type of their default.
_NULL = {
    "trial": int,
    "threads": int,
    "workers": int,
    "align_workers": int,
    "images": int,
    "models": list[str],
    "reference": str,
}
_TEXT_OR = {"corruptions": list[str], "format": list[str], "prior": dict, "groups": dict | None}
# Smallest and largest value by the end of an option's name, for options that are checked nowhere else.
_RANGES = {
    "seed": (0, 2**32 - 1),  # of NumPy's and Lightning's generators
    "lr": (0, math.inf),
    "weight_decay": (0, math.inf),
    "dropout": (0, 1),
    "mixup_alpha": (0, math.inf),
    "cutmix_alpha": (0, math.inf),
    "probability": (0, 1),
    "rounds": (1, math.inf),
    "count": (1, math.inf),
    "batches": (1, math.inf),
    "examples": (0, math.inf),
    "num_classes": (2, math.inf),
    "port": (0, 65535),
    "max_file_size": (1, math.inf),
    "max_megapixels": (1, math.inf),
    "workers": (0, math.inf),
    "n_trials": (1, math.inf),
    "population": (2, math.inf),
    "max_failures": (1, math.inf),
    "lease": (1, math.inf),
}
_OF_STUDIES = {"report", "budgets"}
_NAMED_BY_USERS = {"latency.nets", "samplers.most"}
_OF_HYDRA = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", Any: "anything"}
# Device files by which Linux offers a GPU: NVIDIA's, those of its Jetson boards, AMD's and that of Windows' subsystem.
_GPU_FILES = ("nvidia", "nvgpu", "nvhost", "nvmap", "kfd", "dxg")
_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)


def check_options(cfg: DictConfig, config: str) -> None:
    """Checks the names, types and ranges of all options of a run; the defaults of `config` define plain types.

    Raises:
        UserError: An option is unknown, or has a value of the wrong type or out of range.
    """
    check_names(cfg, config)
    defaults = _defaults_of(config)
    probabilities = {name: 1.0 for name in cfg.get("augment", {}) or {} if str(name).startswith("p_")}
    options: Any = OmegaConf.to_container(cfg, resolve=True)
    _check_plain(options, {**defaults, "augment": probabilities}, "")


@cache
def _defaults_of(config: str) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / f"{config}.yaml"))
    return values


def check_names(cfg: DictConfig, config: str) -> None:
    """Checks that each option of a config, which is not resolved, is read by the command, a constructor or an option.

    Raises:
        UserError: An option is unknown; the message suggests a similar one.
    """
    defaults = _defaults_of(config)
    options: Any = OmegaConf.to_container(cfg)
    unread = list(_unread(options, defaults))
    referred = _referred_to(cfg) if unread else ()
    unread = [name for name in unread if not any(_covers(name, word) for word in referred)]
    if not unread:
        return
    name, known = unread[0], [each for each in option_names(cfg) if not any(_covers(none, each) for none in unread)]
    close = did_you_mean(name, [*known, *_groups_of(defaults)])
    hint = f"did you mean {' or '.join(close)}?" if close else "nothing reads it; --cfg job lists what is read."
    raise UserError(f"Unknown option {name!r}: {hint}")


def _unread(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """Options and groups that neither the command nor a constructor reads."""
    groups = _groups_of(defaults)
    for key, value in options.items():
        default = defaults.get(key)
        group = isinstance(value, dict) and "_target_" not in value
        if key not in groups and key not in defaults and key not in _OF_STUDIES | {"hydra"}:
            yield key
        elif key in ("logger", "callbacks", "elsewhere") and group:  # named by the user, their nodes are instantiated
            for name, node in value.items():
                if node is not None and not (isinstance(node, dict) and "_target_" in node):
                    yield f"{key}.{name}"
        elif group and key in groups and default is None:
            yield from (f"{key}.{name}" for name in value if name != "transforms")
        # With the data set of a network, any argument of its class is allowed.
        elif group and isinstance(default, dict) and not (key == "data" and "root" in default):
            yield from _unread_in(value, default, key)


def _unread_in(options: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in options.items():
        name = f"{prefix}.{key}"
        if key not in defaults:
            yield name
        elif isinstance(value, dict) and isinstance(defaults[key], dict) and name not in _NAMED_BY_USERS:
            yield from _unread_in(value, defaults[key], name)


def _groups_of(defaults: Mapping[str, Any]) -> list[str]:
    return [name for entry in defaults["defaults"] if isinstance(entry, dict) for name in entry if " " not in name]


def _referred_to(cfg: DictConfig) -> set[str]:
    """Names in the interpolations of a config and of Hydra's config."""
    hydra = HydraConfig.instance().cfg
    text = OmegaConf.to_yaml(cfg) + (OmegaConf.to_yaml(hydra) if hydra is not None else "")
    return {word.strip(".") for place in re.findall(r"\$\{([^}]*)", text) for word in re.findall(r"[\w.]+", place)}


def _covers(name: str, other: str) -> bool:
    """Whether two dotted names are equal, or one contains the other."""
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def _check_plain(options: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> None:
    # First the checks that import no configured class.
    for key, value in options.items():
        name, default = f"{prefix}{key}", defaults.get(key)
        group = isinstance(value, dict) and (default is None or isinstance(default, dict))
        if key in defaults and "_target_" not in options and not group:
            _check(name, value, _kind_of_default(name, default))
    for key, value in options.items():
        if isinstance(value, dict) and "_target_" not in value and key != "report":
            inner = defaults.get(key)
            _check_plain(value, inner if isinstance(inner, dict) else {}, f"{prefix}{key}.")
        else:
            _check_constructors(value, f"{prefix}{key}")


def _check_constructors(value: Any, name: str) -> None:
    if isinstance(value, dict) and "_target_" in value:
        check_target(value, name)
    for place, element in enumerate(value if isinstance(value, list) else ()):
        if isinstance(element, dict):
            _check_constructors(element, f"{name}[{place}]")


def _kind_of_default(name: str, default: Any) -> Any:
    if name in _TEXT_OR:
        return str | _TEXT_OR[name]
    if default is None:
        kind = str if is_path(name) else _NULL.get(name.rpartition(".")[2], Any)
        return kind | None if kind is not Any else Any
    if isinstance(default, list):
        return list[type(default[0])] if default and not isinstance(default[0], (list, dict)) else list[Any]  # type: ignore[misc]
    return Any if str(default).startswith("${") else type(default)


def check_target(values: Mapping[str, Any], name: str) -> None:
    """Checks the arguments of a constructor, in the node of the option `name`.

    Raises:
        UserError: An argument is unknown, or has a value of the wrong type or out of range.
    """
    target = get_object(values["_target_"])
    parameters = inspect.signature(target).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    kinds = _kinds_of(target)
    for key, value in values.items():
        if key in _OF_HYDRA or key == "checkpoints":  # of a vote, from which its members are loaded
            continue
        option = f"{name}.{key}"
        if option == "trainer.compile":  # of the network, not of Lightning's Trainer
            _check(option, value, bool)
        elif key in parameters:
            _check(option, value, kinds.get(key, Any))
        elif not open_ended:
            close = did_you_mean(option, [f"{name}.{parameter}" for parameter in parameters])
            hint = f": did you mean {close[0]}?" if close else "."
            raise UserError(f"{option} is unknown to {target.__name__}{hint}")
    for key, value in values.items():
        _check_constructors(value, f"{name}.{key}")


@cache
def _kinds_of(target: Any) -> dict[str, Any]:
    """Annotations of the arguments of a class or function; empty if they cannot be evaluated."""
    constructor = target.__init__ if inspect.isclass(target) else target
    try:
        of_fields = typing.get_type_hints(target) if hasattr(target, "__dataclass_fields__") else {}
        return of_fields or typing.get_type_hints(constructor)
    except (NameError, TypeError, AttributeError):
        return {}


def _check(name: str, value: Any, kind: Any) -> None:
    word = name.rpartition(".")[2]
    if name == "trainer.precision" and value == "auto":  # replaced by the precision of the device
        return
    if is_path(name) and value == "":
        raise UserError(f"{name} must be a path; got an empty value (is the variable set?).")
    if is_path(name) and value is not None and not isinstance(value, str):
        raise UserError(f"{name} must be a path; got {_shown(value)}.")
    if not _fits(value, kind):
        raise UserError(f"{name} must be {_describe(kind)}; got {_shown(value)}.")
    for end, (low, high) in _RANGES.items():
        exact = word == end or (word.startswith("p_") and end == "probability")
        if exact or (end in ("seed", "dropout", "workers") and word.endswith(f"_{end}")):
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, (int, float)) and not low <= number <= high:
                    limit = f"from {low} to {high}" if high < math.inf else f"at least {low}"
                    raise UserError(f"{name} must be {limit}; got {_shown(number)}.")


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return True
    if origin in (Union, types.UnionType):
        plain = [each for each in inner if _is_plain(each) and each is not type(None)]
        # A list may describe an object, but not beside plain types: a learning rate is a number or a tensor.
        return any(_fits(value, each) for each in (plain if plain and isinstance(value, list) else inner))
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in inner)
    if origin is typing.Annotated:
        return _fits(value, inner[0])
    if kind in (None, type(None)) or value is None:
        return value is None and kind in (None, type(None), object)
    if kind in (bool, str):
        return isinstance(value, kind)
    if kind in (int, float):
        return type(value) is int or (kind is float and isinstance(value, float) and math.isfinite(value))
    if (origin or kind) is tuple and inner and inner[-1] is not Ellipsis:
        return isinstance(value, list) and len(value) == len(inner) and all(map(_fits, value, inner))
    if (origin or kind) in _LISTS:
        return isinstance(value, list) and all(_fits(each, inner[0] if inner else Any) for each in value)
    if (origin or kind) in (Path, Mapping, dict):
        return isinstance(value, str if kind is Path else dict)
    # An object, which a config describes by its _target_.
    return isinstance(value, list) or (isinstance(value, dict) and "_target_" in value)


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        words = [_describe(each) for each in inner if _is_plain(each)]
        return " or ".join(dict.fromkeys(words)) or "what its constructor takes"
    if origin is Literal:
        return f"one of {', '.join(map(_shown, inner))}"
    if origin is typing.Annotated:
        return _describe(inner[0])
    if kind is type(None):
        return "null"
    if (origin or kind) in _LISTS:
        of = [_describe(each).removeprefix("a ") for each in inner if each not in (Any, Ellipsis)]
        several = "groups of options" if of and of[0].startswith("group") else f"{of[0]}s" if of else ""
        plural = f" of {several}" if of and not of[0].startswith(("text", "one", "true")) else ""
        return f"a list{plural}" if len(of) < 2 else f"a list of {len(of)} values"
    return _WORDS.get(kind, "a group of options")


def _is_plain(kind: Any) -> bool:
    return (
        kind in (*_WORDS, type(None))
        or get_origin(kind) is Literal
        or (get_origin(kind) or kind) in (*_LISTS, dict, Mapping)
    )


def _shown(value: Any) -> str:
    """Value as on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, dict)):
        return f"the {'list' if isinstance(value, list) else 'group'} {value}"
    return repr(value) if isinstance(value, str) else str(value)


def require_inputs(cfg: DictConfig, command: str) -> None:
    """Checks that source, picture, checkpoint, data and GPU of a command exist; damaged files are reported when read.

    Raises:
        UserError: An input is missing.
    """
    if "source" in cfg:
        from fer_lightning.inference.video import ACCEPTED, find_source

        if cfg.source is None:
            raise UserError(f"source=... is missing: {ACCEPTED}.")
        find_source(str(cfg.source))
    if cfg.get("image") is not None:
        from fer_lightning.inference.images import require_file

        require_file(Path(os.path.expanduser(cfg.image)))  # noqa: PTH111 (pathlib fails on unknown users, such as ~x)
    if "checkpoint" in cfg:
        if cfg.checkpoint is None:
            raise UserError(
                "checkpoint=... is missing: use the folder of a finished run, a file, or a network that ships with the "
                "package, such as fer2013."
            )
        find_checkpoint(Path(cfg.checkpoint), backend=cfg.get("backend", "auto"))
    # A resumed run no longer needs its initial weights.
    if cfg.get("init") is not None and not Path(cfg.output_dir, "checkpoints", "last.ckpt").is_file():
        find_checkpoint(Path(cfg.init), "init")
    for teacher in [cfg.teacher] if isinstance(cfg.get("teacher"), str) else cfg.get("teacher") or []:
        find_checkpoint(Path(teacher), "teacher")
    _require_data(cfg, command)
    _require_gpu(cfg)


def _require_data(cfg: DictConfig, command: str) -> None:
    data: Any = cfg.get("data") or {}
    if data.get("_target_"):
        _require_root(data["_target_"], data.get("root"))
        return
    int8 = command == "export" and "int8" in ([cfg.format] if isinstance(cfg.format, str) else cfg.format)
    root = data.get("root") if command in ("evaluate", "explain", "export") else None
    needed = command == "evaluate" or (command == "explain" and cfg.image is None) or int8
    if not needed and root is None:
        return
    from fer_lightning.commands.stored_config import data_of

    dataset, stored_root = data_of(find_checkpoint(Path(cfg.checkpoint)))
    try:
        _require_root(dataset, root if root is not None else stored_root)
    except UserError as error:
        if int8:
            reason = "format=int8 needs training images for its calibration; they cannot be read."
            raise UserError(reason, *error.args) from None
        raise


def _require_root(target: str, root: Any) -> None:
    """Checks that the folder or file of a data set exists, by the name of its class."""
    if isinstance(root, str):
        require_root(target.rpartition(".")[0].rpartition(".")[2], root)


def _require_gpu(cfg: DictConfig) -> None:
    """Checks on Linux that there may be a GPU; PyTorch, which knows for certain, takes seconds to import."""
    accelerator = OmegaConf.select(cfg, "trainer.accelerator")
    needed = accelerator in ("gpu", "cuda") and sys.platform == "linux"
    if needed and not any(file.name.startswith(_GPU_FILES) for file in Path("/dev").iterdir()):
        raise UserError(
            f"trainer.accelerator={accelerator} needs a GPU, and /dev has none: use trainer=cpu, or trainer=auto, "
            "which uses a GPU if there is one."
        )
