"""What a sweep found, as an experiment that `fer train` composes like those in `conf/experiment`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from fer_lightning.files import conf_dir, write_whole

log = logging.getLogger(__name__)

# Groups whose files hold values of any part of the config, in the order in which conf/train.yaml composes them.
# Included, not chosen: ablation and study would come after the experiment and win over what was found.
RECIPES = ("experiment", "ablation", "study")


def write_experiment(
    path: Path,
    fixed: Sequence[str],
    found: Sequence[str],
    is_group: Callable[[str], bool],
    header: Sequence[str],
    config_dirs: Sequence[Path],
) -> None:
    """Writes overrides as an experiment file.

    `fer train --config-dir <folder above experiment/> experiment=<name of the file>` then composes the config that the
    overrides compose. What concerns a sweep or one of its jobs (`hydra...`, `trial`) is left out; of a study, what its
    runs have in common goes into a file beside `path`, and so does a recipe of another `--config-dir`. What a file
    cannot say, as the deletion of a value, is named in a comment and in the log.

    Args:
        path: The file, in a folder `experiment`.
        fixed: Overrides without sweeps that hold for all trials, such as `model=resnet`, `+x.y=1` or `~scheduler`.
        found: Overrides of one trial; they win over fixed ones.
        is_group: Whether a key, such as `model`, is a config group.
        header: Lines that say where the values come from.
        config_dirs: Folders, beside that of `fer`, from which the overrides were composed; the first one wins.
    """
    overrides = [parsed for parsed in OverridesParser.create().parse_overrides([*fixed, *found]) if not _of_job(parsed)]
    choices = {_place(parsed): parsed for parsed in overrides if _chooses(parsed, is_group)}
    values = [parsed for parsed in overrides if not _chooses(parsed, is_group)]
    unsaid = [parsed.input_line for parsed in values if parsed.is_delete()]
    included = []
    for recipe in RECIPES:
        for name in _names(choices.pop(recipe, None)):
            if entry := _include(f"{recipe}/{name}", path, config_dirs):
                included.append(entry)
            else:
                unsaid.append(f"{recipe}={name}")

    comments = ["@package _global_"]
    comments += [line for text in header for line in text.splitlines()]
    if unsaid:
        told = " ".join(f"'{line}'" for line in unsaid)
        comments.append(f"What this file cannot say: {told}")
        log.warning("%s cannot say %s: what was found belongs to that as well.", path, told)
    # Hydra wants what overrides at the end of the list.
    entries = [_entry(choice) for choice in choices.values()]
    added = [entry for choice, entry in zip(choices.values(), entries) if choice.is_add()]
    defaults = [*included, *added, "_self_", *(entry for entry in entries if entry not in added)]
    tree = OmegaConf.create({"defaults": defaults})
    for parsed in values:
        if not parsed.is_delete():
            OmegaConf.update(tree, parsed.key_or_group, parsed.value(), merge=True, force_add=True)
    _write(path, comments, tree)


def _of_job(override: Override) -> bool:
    return override.key_or_group.replace("/", ".").partition(".")[0] in ("hydra", "trial")


def _chooses(override: Override, is_group: Callable[[str], bool]) -> bool:
    """Whether Hydra reads an override as the choice of a config group; a dictionary is always a value."""
    return is_group(override.key_or_group) and not isinstance(override.value(), dict)


def _place(override: Override) -> str:
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def _names(override: Override | None) -> list[str]:
    value = None if override is None or override.is_delete() else override.value()
    return [str(name) for name in (value if isinstance(value, list) else [value]) if name is not None]


def _entry(choice: Override) -> dict[str, Any]:
    """The entry of a defaults list that makes the same choice."""
    place = f"/{_place(choice)}"
    if choice.is_delete():
        return {f"override {place}": None}
    return {place if choice.is_add() else f"override {place}": choice.value()}


def _include(config: str, path: Path, config_dirs: Sequence[Path]) -> str | None:
    """What to include of a config, such as `experiment/psysfa`; copies it where `fer` alone would not find it.

    A copy lacks what makes a study many runs.

    Args:
        config: Its path below a folder of configs.
        path: The experiment file, beside which copies go.
        config_dirs: Folders of configs beside those of `fer`.

    Returns:
        An entry of a defaults list; None if no folder holds the config.
    """
    group, _, name = config.rpartition("/")
    sources = [folder / f"{config}.yaml" for folder in (conf_dir(), *config_dirs)]
    source = next((file for file in sources if file.is_file()), None)
    if source is None:
        return None
    if source.is_relative_to(conf_dir()) and group != "study":
        return f"/{config}"
    tree = OmegaConf.load(source)
    assert isinstance(tree, DictConfig)
    tree.pop("hydra", None)
    tree.pop("report", None)
    if "defaults" in tree:
        kept = [entry for entry in tree.defaults if "hydra/" not in str(entry)]
        tree.defaults = [_included_by(group, entry, path, config_dirs) for entry in kept]
    copy = path.parents[1] / group / f"{path.stem}_{name}.yaml"
    copy.parent.mkdir(parents=True, exist_ok=True)
    # Hydra reads a package only above all other lines.
    top = source.read_text(encoding="utf-8").lstrip().partition("\n")[0].lstrip("# ")
    package = [top] if top.startswith("@package") else []
    _write(copy, [*package, f"What {group}={name} says of one run."], tree)
    return f"/{group}/{copy.stem}"


def _included_by(group: str, entry: Any, path: Path, config_dirs: Sequence[Path]) -> Any:
    """An entry of the defaults list of a config that is copied."""
    if not isinstance(entry, str) or entry == "_self_":
        return entry
    config, at, package = entry.partition("@")
    config = config[1:] if config.startswith("/") else f"{group}/{config}"
    included = _include(config, path, config_dirs)
    return f"{included}{at}{package}" if included else entry


def _write(path: Path, comments: Sequence[str], tree: Any) -> None:
    text = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    write_whole(path, lambda temporary: temporary.write_text(text + OmegaConf.to_yaml(tree), encoding="utf-8"))
