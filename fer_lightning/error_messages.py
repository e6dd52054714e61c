"""Messages and clean-up of a command that failed.

`explain` turns errors of Hydra, its launchers and the file system into one sentence with a suggestion;
`remove_failed_start` removes the folder of a run that failed before it began, and the parent folders created for it.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import shlex
import shutil
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

# Configs that other configs include, which are not choices themselves.
PARTS = re.compile(r"(^|/)shared(/.*)?$")
# Included configs of earlier versions, which the defaults lists of users may still name, and their present names.
_FORMER_PARTS = {
    "data=base": "data=folder",
    "study=base": "study=shared/grid",
    "study=psysfa_ablations": "study=shared/psysfa_ablations",
}
_LAUNCHERS = {"joblib", "ray", "submitit"}  # packages
# Files that Hydra and fer train write before a run begins.
_BEFORE_A_RUN = {".hydra", "config.yaml", "multirun.yaml"}


def explain(error: Exception, config: str | None, arguments: Sequence[str]) -> str | None:
    """Message of an error in composing a config; None for errors of the program, whose traceback is needed.

    Args:
        error: The exception.
        config: Name of the config that was composed, None for a command without one.
        arguments: Arguments after the command.
    """
    from hydra.errors import CompactHydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, OSError) and not isinstance(error, MissingConfigException):
        return _unwritable(error)
    if not isinstance(error, (CompactHydraException, OmegaConfBaseException)):
        return _of_launcher(error, arguments)
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if message := _defaults_entry(text):
        return message
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return _unknown_choice(group, choice, error.options)
    if match := re.search(r"Interpolation key 'budgets\.([^'.]+)", text):
        return f"budget={match[1]} is unknown: use smoke, pilot or paper."
    if match := re.search(r"Interpolation key '([^']*)' not found(?: full_key: (\S+))?", text):
        return (
            f"{match[2] or 'an option'} refers to ${{{match[1]}}}, which is not an option: correct the name, or, for "
            r"a literal value, quote it for Hydra and write \${."
        )
    if match := re.search(r"Could not (override|delete) '([^']+)'", text):
        return _unknown_option(match[2], config, arguments)
    if match := re.search(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"+{match[1]}: the option {match[1]} already exists: use it without the +."
    if match := re.search(r"Ambiguous value for argument '(.+?)' 1\. To use", text):
        name, _, values = match[1].partition("=")
        return f"{match[1]} has several values: use {name}=[{values}] for a list, or add -m to run each of them."
    if match := re.search(r"Sweep parameters '(.+?)' requires --multirun", text):
        return f"{match[1]} has several values: add -m to run each of them."
    return text


def _defaults_entry(text: str) -> str | None:
    """Message for an entry in the defaults list of a user's config that does not exist, or not under this name."""
    from fer_lightning.results.metrics_schema import by_current_name

    match = re.search(r"(?:In '([^']*)': )?Could not (find|load|override) '([^']+)'", text)
    if match is None:
        return None
    file, action, entry = match.groups()
    # Hydra's own config is named where a user's config overrides one of its groups.
    file = "" if file in (None, "hydra/config") else file
    # A group without a slash in front of it is looked up in the group of the config that names it.
    group, _, choice = (entry, "", "") if action == "override" else entry.rpartition("/")
    typed = f"{group.removeprefix(file.rpartition('/')[0] + '/')}={choice}"
    included = "/" in file  # by a config; on the command line, a part cannot be chosen under any name
    present = (_FORMER_PARTS.get(typed) if included else None) or by_current_name(typed)
    if present != typed:
        former, present = (f"/{name.removesuffix('=').replace('=', ': ')}" for name in (typed, present))
        place = f"the defaults list of {file}.yaml" if file else "the defaults list of a config"
        return f"{former!r} in {place} is called {present!r} now: correct it there."
    if file and action != "override" and "Available options" not in text:
        return f"The defaults list of {file}.yaml names {entry}, which does not exist: correct the name."
    return None


def _unwritable(error: OSError) -> str | None:
    """Message for a file that cannot be written or a folder that cannot be created."""
    from fer_lightning.files import unwritable

    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    path = Path(os.fsdecode(error.filename or "a file")).absolute()
    folder = FolderBefore.folder
    # A missing file is an error of the program, unless its folder was chosen by the user.
    chosen = folder is not None and (path.is_relative_to(folder) or folder.is_relative_to(path))
    denied = error.errno in (errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR) or (
        error.errno == errno.ENOENT and chosen
    )
    return str(unwritable(path if error.filename else Path("a file"), error)) if full or denied else None


def _of_launcher(error: Exception, arguments: Sequence[str]) -> str | None:
    """Message for jobs that a launcher could not start, or whose processes were killed."""
    *_, raised_in = "", *(frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    if type(error).__module__.partition(".")[0] not in _LAUNCHERS and not raised_in.startswith("submitit."):
        return None
    reason = re.split(r"\w+ stream produced|with trace", str(error))[0]  # what a job of submitit printed
    return f"the launcher failed: {' '.join(reason.split()).rstrip('.:')}; {how_to_continue(arguments)}"


def check_choices(overrides: Iterable[str], conf: Path) -> None:
    """Checks that no config in `shared/` is chosen, which only other configs include.

    Raises:
        UserError: A config in `shared/` is chosen.
    """
    from fer_lightning.errors import UserError

    for override in overrides:
        group, _, choice = override.lstrip("+").partition("=")
        group = group.partition("@")[0]
        if PARTS.search(choice) and (conf / group / f"{choice}.yaml").is_file():
            raise UserError(_unknown_choice(group, choice, [path.stem for path in (conf / group).glob("*.yaml")]))


def did_you_mean(name: str, known: Iterable[str]) -> list[str]:
    """Known names similar to a mistyped one, the most similar first.

    Args:
        name: The mistyped name.
        known: Known names; dotted names are also compared by their last word.
    """
    group, dot, word = name.lower().rpartition(".")
    names = list(dict.fromkeys(known))
    siblings = [other.rpartition(".")[2] for other in names if other.rpartition(".")[0] == group]
    if siblings:
        if close := difflib.get_close_matches(word, siblings, n=1):
            return [f"{group}{dot}{close[0]}"]
    elif close := difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7):
        return close
    return [other for other in names if other.rpartition(".")[2] == word][:3]


def _unknown_choice(group: str, choice: str, options: Sequence[str]) -> str:
    choices = sorted(option for option in options if not PARTS.search(option))
    close = difflib.get_close_matches(choice, choices, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? Otherwise " if close else ""
    return f"Unknown choice {group}={choice}: {hint}choose one of {', '.join(choices)}."


def _unknown_option(name: str, config: str | None, arguments: Sequence[str]) -> str:
    composed = _composed(config, arguments) if config else None
    known = [*option_names(composed), *composed.hydra.runtime.choices] if composed is not None else []
    close = did_you_mean(name, known)
    # Only the trainer has so many arguments that one outside the config resembles another; importing torch takes long.
    if composed is not None and (not close or name.startswith("trainer.")) and _constructor_takes(composed, name):
        return f"{name} is not in the config: use +{name}=... to add it."
    if close:
        return f"Unknown option {name!r}: did you mean {' or '.join(close)}?"
    return f"Unknown option {name!r}: --cfg job lists the options with their values, --help the groups."


def _constructor_takes(cfg: DictConfig, name: str) -> bool:
    """Whether an option outside the config, such as trainer.max_steps, is an argument of its group's `_target_`."""
    import inspect

    from hydra.utils import get_object

    group, _, argument = name.rpartition(".")
    target = OmegaConf.select(cfg, f"{group}._target_") if group and not group.startswith("hydra") else None
    return target is not None and argument in inspect.signature(get_object(target)).parameters


def _composed(config: str, arguments: Sequence[str]) -> DictConfig | None:
    """Config of a command with the chosen groups and no other option; None if it cannot be composed."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from fer_lightning.files import conf_dir

    groups = [
        argument
        for argument in arguments
        if (conf_dir() / argument.partition("=")[0] / f"{argument.partition('=')[2]}.yaml").is_file()
    ]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for overrides in (groups, []):
            try:
                return compose(config, overrides, return_hydra_config=True)
            except HydraException:
                continue
    return None


def option_names(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all options of a config, without the internal ones of Hydra."""
    for key in node:
        name = f"{prefix}{key}"
        if name.startswith("hydra.") and not name.startswith(
            ("hydra.run", "hydra.sweep", "hydra.job", "hydra.launcher")
        ):
            continue
        yield name
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from option_names(child, f"{name}.")


def in_hydra(config: DictConfig, name: str) -> str:
    """Option of a config in which names refer to Hydra's own options, before Hydra makes it the current one."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return str(OmegaConf.select(config, name))
    finally:
        HydraConfig.instance().cfg = before


class FolderBefore(Callback):
    """Records which folders exist before Hydra creates that of a run or a sweep."""

    folder: Path | None = None
    kind = "run"  # or "sweep"
    used: Path | None = None  # the folder; None if it was not empty before
    made: Path | None = None  # the topmost folder that is created for it

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # the signatures are Hydra's
        self._look(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._look(config, "sweep")

    def _look(self, config: DictConfig, kind: str) -> None:
        folder = Path(in_hydra(config, f"hydra.{kind}.dir")).absolute()
        holds_something = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
        FolderBefore.folder, FolderBefore.kind = folder, kind
        FolderBefore.used = None if holds_something else folder
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        FolderBefore.made = missing[-1] if missing else None


def remove_failed_start(stopped: bool) -> None:
    """Removes the folder of this process's run or sweep, unless training wrote a file there.

    A run that the user stopped after it had started its data can be continued, so that it is kept.
    """
    from fer_lightning.results.metrics_schema import STARTED

    folder, FolderBefore.used = FolderBefore.used, None
    before = _BEFORE_A_RUN if stopped else {*_BEFORE_A_RUN, STARTED}
    if folder is None or not folder.is_dir():
        return
    # Each run of a sweep has its own folder.
    for place in [*(child for child in folder.iterdir() if child.is_dir() and child.name != ".hydra"), folder]:
        entries = list(place.iterdir())
        if all(entry.name in before or entry.suffix == ".log" for entry in entries):
            for entry in entries:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            if place != folder or FolderBefore.made is not None:
                place.rmdir()
    if FolderBefore.made is None or folder.exists():
        return
    for place in folder.parents:
        if not place.is_relative_to(FolderBefore.made) or any(place.iterdir()):
            break
        place.rmdir()


def how_to_continue(arguments: Sequence[str]) -> str:
    """Message of a stopped `fer train` with these arguments, and the command that continues it."""
    from fer_lightning.files import shown_path

    folder = FolderBefore.folder
    command, message = list(arguments), "stopped before training began; to start again"
    if folder is not None and FolderBefore.kind == "sweep" and folder.is_dir():
        message = "stopped; this continues with the runs that are left"
        if not any(argument.startswith("study=") for argument in arguments):  # whose folder does not change
            command = [argument for argument in arguments if not argument.startswith("hydra.sweep.dir=")]
            command.append(f"hydra.sweep.dir={shown_path(folder)}")
    elif folder is not None and (folder / "config.yaml").is_file():
        message = "stopped; this continues from its last finished epoch"
        plugins = [argument for argument in arguments if argument.startswith("plugins=")]
        command = [f"resume={shown_path(folder)}", *plugins]
    return f"{message}: {shlex.join(['fer', 'train', *command])}"
