"""Names of runs and variants, the same in tables, figures, `fer dashboard` and W&B."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fer_lightning.files import conf_dir, shown_path
from fer_lightning.results.metrics_schema import identity, typed_options

Options = frozenset[tuple[str, str]]
# The value alone is a good name. From the general to the special.
_CHOICES = ("experiment", "model", "ablation", "baseline")
# Options of how long and where a run computes: they name it only where they differ from the runs beside it.
_COMPUTED = ("budget", "trainer", "callbacks", "selection")
_LONGEST_NAME = 128  # characters, the limit of W&B
_LONGEST_TAG = 64


@dataclass(frozen=True)
class RunLabels:
    """How one run is labelled wherever runs are listed.

    Attributes:
        name: Variant, data set and seed: `psysfa_no_fusion-fer2013-s1`.
        variant: The first part of it, equal for the seeds of a variant.
        group: Name of its study, search or multirun; None for a single run.
        job_type: What the run does: train, evaluate, explain, study, search or report.
        tags: Data set, network, ablation, study and protocol, to filter by.
    """

    name: str
    variant: str
    group: str | None
    job_type: str
    tags: tuple[str, ...]


def label_run(
    record: Mapping[str, Any],
    choices: Mapping[str, Any],
    shared: Collection[str] = (),
    group: str | None = None,
    job_type: str = "train",
    trial: int | None = None,
) -> RunLabels:
    """Labels of a run.

    Args:
        record: Fields of `metrics.json`: `protocol`, and where they are known `seed`, `model`, `study` and `variant`
            (see `identity`).
        choices: Chosen config of each group, as Hydra resolves it; empty for a record that was read.
        shared: Overrides of all runs of the multirun as they were typed, which set none of them apart.
        group: Name of the study, search or multirun.
        job_type: What the run does.
        trial: Number of the run in its search.
    """
    variant, protocol = record.get("variant") or {}, record["protocol"]
    chosen = {key: str(value) for key, value in {**choices, **variant}.items() if key in _CHOICES and value}
    network = dict(_options({**variant, **chosen})).get("model") or network_name(record.get("model", "default"))
    name = variant_name(variant, shared, default=network, choices_only=trial is not None)
    seed = record.get("seed", record.get("trained_seed"))
    number = f"-t{trial}" if trial is not None else "" if seed is None else f"-s{seed}"
    run = f"-{protocol['dataset']}{number}"
    evaluated = f"{protocol['split']}, {len(protocol['classes'])} classes"
    tags = [protocol["dataset"], network, *(chosen.get(key) for key in _CHOICES if key != "model")]
    tags += [record.get("study"), evaluated, None if trial is None else "trial"]
    return RunLabels(
        name=name[: _LONGEST_NAME - len(run)] + run,
        variant=name,
        group=group,
        job_type=job_type,
        tags=tuple(dict.fromkeys(str(tag)[:_LONGEST_TAG] for tag in tags if tag)),
    )


def variant_name(
    variant: Mapping[str, str], shared: Collection[str] = (), default: str = "default", choices_only: bool = False
) -> str:
    """Names one run by what was typed for it, without the runs beside it.

    The name is that of `name_variants` where `shared` holds what the runs have in common: the most special choice of
    `baseline`, `ablation`, `model` and `experiment`, after others in which runs differ, then the other options in which
    they differ: `resnet, optimizer.lr=0.01`. For a single run, `shared` is empty: its name has the most special choice
    and the other options that were typed, but not those of budget and device.

    Args:
        variant: The field `variant` of the run, as `{"model": "resnet"}`.
        shared: Overrides of all runs of a multirun as they were typed, as `"model=resnet"`.
        default: Name where no choice was typed.
        choices_only: Whether to omit all options but choices, such as the values that a search tries.
    """
    alike = {key for key, value in typed_options(shared).items() if variant.get(key) == value}
    options = dict(_options(variant))
    chosen = sorted(_choices(frozenset(options.items())), key=lambda pair: _CHOICES.index(pair[0]))
    names = [value for key, value in chosen if (key, value) == chosen[-1] or (shared and key not in alike)]
    rest = {
        (key, value)
        for key, value in options.items()
        if not (choices_only or key in _CHOICES or key in alike) and (shared or not key.startswith(_COMPUTED))
    }
    return ", ".join([*(names or [default]), *([_shown(frozenset(rest))] if rest else [])])


def run_title(record: Mapping[str, Any]) -> str:
    """Title of the tables and figures of a run or an evaluation: `psysfa_no_fusion on fer2013, seed 1`."""
    name = variant_name(record.get("variant", {}), default=network_name(record["model"]))
    seed = record.get("seed", record.get("trained_seed"))
    return f"{name} on {record['protocol']['dataset']}{'' if seed is None else f', seed {seed}'}"


def network_name(net: str) -> str:
    """Name of a network in `conf/model`, `psysfa_net` of the class `PsySFANet`; of other classes that of the class."""
    return _network_names().get(net, net)


@cache
def _network_names() -> dict[str, str]:
    configs: dict[str, list[str]] = {}
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        for net in re.findall(r"^_target_: .*\.(\w+)$", path.read_text(), re.MULTILINE):
            configs.setdefault(net, []).append(path.stem)
    return {net: names[0] for net, names in configs.items() if len(names) == 1}


def wandb_label(logs: Iterable[Path]) -> str:
    """`W&B`, or `W&B (offline)` where a run was logged on this machine and not uploaded; empty for no run."""
    logs = list(logs)
    return "" if not logs else "W&B (offline)" if any(map(waits_for_upload, logs)) else "W&B"


def waits_for_upload(log: Path) -> bool:
    """Whether the folder of a W&B run holds one that was logged offline and has not been uploaded."""
    return log.name.startswith("offline-run-") and not list(log.glob("*.wandb.synced"))


def upload_command(folder: Path) -> str | None:
    """Command that uploads the runs in or below a folder that were logged to W&B offline; None if no run waits."""
    if any(waits_for_upload(log) for place in ("", "*/") for log in folder.glob(f"{place}wandb/offline-run-*")):
        return shlex.join(["fer", "dashboard", str(shown_path(folder)), "--sync"])
    return None


def name_variants(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """Names runs by what sets them apart.

    Runs are seeds of one variant where the same options were typed for them, seed, place and data left aside. Its name
    is the most special choice that was typed of `baseline`, `ablation`, `model` and `experiment`, after the others in
    which runs differ: `psysfa_no_fusion`, `strong, vit`. Where choices do not tell two variants apart, the other
    options in which they differ follow: `resnet, optimizer.lr=0.01`. A network of timm has its own name.

    Readings:
        - The special choice is part of the name even where nothing differs from it, so that a study that is half done
          has the names of the whole one. Other options are not: a study sets its rows apart by choices.
        - A record holds the options, not the name, which depends on the runs beside it.

    Args:
        variants: The field `variant` of each run, as `{"model": "resnet"}`.

    Returns:
        One name a run; equal for the seeds of a variant. `default` where no choice was typed and nothing
        sets a run apart.
    """
    typed = [_options(variant) for variant in variants]
    shared = frozenset.intersection(*typed)
    names = {options: _short_name(options, set(typed), shared) for options in typed}
    short = list(names.values())
    return [names[own] if short.count(names[own]) == 1 else _shown(own - shared) or "default" for own in typed]


def name_runs(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of the runs of a multirun, by their typed options: variants, and other differences such as the seed."""
    axes = [name for name in runs[0] if len({run[name] for run in runs}) > 1]
    variants = [identity([f"{name}={value}" for name, value in run.items()])["variant"] for run in runs]
    return [
        " ".join([name, *(f"{axis}={run[axis]}" for axis in axes if axis not in variant)])
        for name, variant, run in zip(name_variants(variants), variants, runs)
    ]


def _options(variant: Mapping[str, str]) -> Options:
    """Typed options; the choice `model=timm` with `model.name` is the choice of that network."""
    if variant.get("model") == "timm" and "model.name" in variant:
        variant = {key: value for key, value in variant.items() if key != "model.name"} | {
            "model": variant["model.name"]
        }
    return frozenset(variant.items())


def _short_name(options: Options, variants: set[Options], shared: Options) -> str:
    alike = [other for other in variants if _choices(other) == _choices(options)]
    chosen = sorted(_choices(options), key=lambda pair: _CHOICES.index(pair[0]))
    names = [value for key, value in chosen if (key, value) not in shared or (key, value) == chosen[-1]]
    rest = options - _choices(options) - frozenset.intersection(*alike)
    return ", ".join([*names, *([_shown(rest)] if rest else [])]) or "default"


def _choices(options: Options) -> Options:
    return frozenset((key, value) for key, value in options if key in _CHOICES)


def _shown(options: Options) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(options))
