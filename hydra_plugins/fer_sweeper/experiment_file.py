"""Best trial of a sweep as an experiment file, which `fer train` composes like those in `conf/experiment`."""

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
# Included, not chosen: ablation and study come after the experiment and would override its values.
RECIPES = ("experiment", "ablation", "study")


def write_experiment(
    path: Path,
    fixed: Sequence[str],
    best: Sequence[str],
    is_group: Callable[[str], bool],
    header: Sequence[str],
    config_dirs: Sequence[Path],
) -> None:
    """Writes overrides as an experiment file.

    `fer train --config-dir <folder above experiment/> experiment=<name of the file>` then composes the config that the
    overrides compose. Options of the sweep or its jobs (`hydra...`, `trial`) are omitted; the common part of a study
    and a recipe of another `--config-dir` are written to files beside `path`. Overrides that a file cannot express,
    such as the deletion of a value, are listed in a comment and logged.

    Args:
        path: The file, in a folder `experiment`.
        fixed: Overrides without sweeps that hold for all trials, such as `model=resnet`, `+x.y=1` or `~scheduler`.
        best: Overrides of one trial, which take precedence over fixed ones.
        is_group: Whether a key, such as `model`, is a config group.
        header: Comment lines on the origin of the values.
        config_dirs: Further folders from which the overrides were composed; the first one takes precedence.
    """
    overrides = [parsed for parsed in OverridesParser.create().parse_overrides([*fixed, *best]) if not _of_job(parsed)]
    choices = {_place(parsed): parsed for parsed in overrides if _chooses(parsed, is_group)}
    values = [parsed for parsed in overrides if not _chooses(parsed, is_group)]
    omitted = [parsed.input_line for parsed in values if parsed.is_delete()]
    included = []
    for recipe in RECIPES:
        for name in _names(choices.pop(recipe, None)):
            if entry := _include(f"{recipe}/{name}", path, config_dirs):
                included.append(entry)
            else:
                omitted.append(f"{recipe}={name}")

    comments = ["@package _global_"]
    comments += [line for text in header for line in text.splitlines()]
    if omitted:
        missing = " ".join(f"'{line}'" for line in omitted)
        comments.append(f"Overrides that this file cannot express: {missing}")
        log.warning("%s cannot express %s: add these overrides when using it.", path, missing)
    # Hydra requires entries that override at the end of the list.
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
    """Entry of a defaults list that makes the same choice."""
    place = f"/{_place(choice)}"
    if choice.is_delete():
        return {f"override {place}": None}
    return {place if choice.is_add() else f"override {place}": choice.value()}


def _include(config: str, path: Path, config_dirs: Sequence[Path]) -> str | None:
    """Entry that includes a config, such as `experiment/psysfa`, which is copied if `fer` alone would not find it.

    A copy of a study omits the sweep over its runs.

    Args:
        config: Path of the config below a folder of configs.
        path: Experiment file, beside which copies are written.
        config_dirs: Further folders of configs.

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
    # Hydra reads the package from the first line only.
    top = source.read_text(encoding="utf-8").lstrip().partition("\n")[0].lstrip("# ")
    package = [top] if top.startswith("@package") else []
    _write(copy, [*package, f"Common options of the runs of {group}={name}."], tree)
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
