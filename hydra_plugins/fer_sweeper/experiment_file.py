"""What a sweep found, as an experiment that `fer train` composes like those in `conf/experiment`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from fer_lightning.cli import conf_dir

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
) -> None:
    """Writes overrides as an experiment file.

    `fer train --config-dir <folder above experiment/> experiment=<name of the file>` then composes the config that the
    overrides compose. What concerns a sweep or one of its jobs (`hydra...`, `trial`) is left out; of a study, what its
    runs have in common goes into a file beside `path`. What a file cannot say, as the deletion of a value, is named in
    a comment and in the log.

    Args:
        path: The file, in a folder `experiment`.
        fixed: Overrides without sweeps that hold for all trials, such as `model=resnet`, `+x.y=1` or `~scheduler`.
        found: Overrides of one trial; they win over fixed ones.
        is_group: Whether a key, such as `model`, is a config group.
        header: Lines that say where the values come from.
    """
    overrides = [parsed for parsed in OverridesParser.create().parse_overrides([*fixed, *found]) if not _of_job(parsed)]
    choices = {_place(parsed): parsed for parsed in overrides if _chooses(parsed, is_group)}
    values = [parsed for parsed in overrides if not _chooses(parsed, is_group)]
    unsaid = [parsed.input_line for parsed in values if parsed.is_delete()]
    included = []
    for recipe in RECIPES:
        for name in _names(choices.pop(recipe, None)):
            if not (conf_dir() / recipe / f"{name}.yaml").is_file():  # of another --config-dir, as an earlier best.yaml
                unsaid.append(f"{recipe}={name}")
            elif recipe == "study":
                included.append(_write_common_part(path, name))
            else:
                included.append(f"/{recipe}/{name}")

    comments = [line for text in header for line in text.splitlines()]
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


def _write_common_part(path: Path, study: str) -> str:
    """Writes what all runs of a study have in common, without what makes it many runs; returns what to include."""
    tree = OmegaConf.load(conf_dir() / "study" / f"{study}.yaml")
    assert isinstance(tree, DictConfig)
    tree.pop("hydra", None)
    tree.defaults = [entry for entry in tree.get("defaults", ()) if "/hydra/" not in str(entry)]
    part = path.with_name(f"{path.stem}_{study}.yaml")
    _write(part, [f"What all runs of study={study} have in common."], tree)
    return f"/experiment/{part.stem}"


def _write(path: Path, comments: Sequence[str], tree: Any) -> None:
    from fer_lightning.training.record import write_atomically  # imports torch, which Hydra's start need not wait for

    text = "".join(f"# {line}".rstrip() + "\n" for line in ("@package _global_", *comments))
    write_atomically(path, lambda temporary: temporary.write_text(text + OmegaConf.to_yaml(tree), encoding="utf-8"))
