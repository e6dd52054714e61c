"""Which runs are seeds of one variant, and what that variant is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Options = frozenset[tuple[str, str]]

# Options of where, for whom and under which seed a run went, and of its data, of which the protocol tells more.
_LEFT_ASIDE = {
    "seed",
    "study",
    "threads",
    "resume",
    "plugins",
    "output_dir",
    "corruptions",
    "logger",
    "data",
    "data.root",
    "data.cache_dir",
    "data.num_workers",
    "data.store",
    "data.landmark_model",
    "data.align_workers",
    "data.split",
    "data.split_seed",
    "data.val_fraction",
    "data.fold",
    "trainer.enable_progress_bar",
}
_LEFT_ASIDE_BEGINNINGS = ("hydra.", "hydra/", "logger.", "elsewhere.", "data@elsewhere.")
# The value alone is a good name. From the general to the special.
_CHOICES = ("experiment", "model", "ablation", "baseline")
# What earlier versions called an option, and what it is called now. Records keep what was typed.
_FORMER = {
    r"rival=": "baseline=",
    r"study=hafem_rivals$": "study=hafem_baselines",
    r"hydra/sweeper=mboa$": "hydra/sweeper=optuna",
}


def by_current_name(option: str) -> str:
    """An option as it is typed now, where an earlier version had another name for it.

    Args:
        option: For example `"rival=vit"`, which is `"baseline=vit"` now.
    """
    for former, current in _FORMER.items():
        option = re.sub(rf"^(\+*){former}", rf"\g<1>{current}", option)
    return option


def name_variants(overrides: Sequence[Iterable[str]]) -> list[str]:
    """Names runs by what sets them apart.

    Runs are seeds of one variant where the same options were typed for them, seed, place and data left aside. Its name
    is the most special choice that was typed of `baseline`, `ablation`, `model` and `experiment`, after the others in
    which runs differ: `psysfa_no_fusion`, `strong, vit`. Where choices do not tell two variants apart, the other
    options in which they differ follow: `resnet, optimizer.lr=0.01`.

    Readings:
        - The special choice is told even where nothing differs from it, so that a study that is half done has the names
          of the whole one. Other options are not: a study sets its rows apart by choices.
        - What was typed counts, not what it was resolved to: records that were moved or copied have no more than that,
          and `collect_runs` refuses runs of one variant whose networks differ.

    Args:
        overrides: What was typed for each run, as `"model=resnet"`.

    Returns:
        One name a run; equal for the seeds of a variant. `default` where no choice was typed and nothing
        sets a run apart.
    """
    typed = [_options(each) for each in overrides]
    shared = frozenset.intersection(*typed)
    names = {options: _short_name(options, set(typed), shared) for options in typed}
    short = list(names.values())
    return [names[own] if short.count(names[own]) == 1 else _told(own - shared) or "default" for own in typed]


def _short_name(options: Options, variants: set[Options], shared: Options) -> str:
    alike = [other for other in variants if _choices(other) == _choices(options)]
    chosen = sorted(_choices(options), key=lambda pair: _CHOICES.index(pair[0]))
    told = [value for key, value in chosen if (key, value) not in shared or (key, value) == chosen[-1]]
    rest = options - _choices(options) - frozenset.intersection(*alike)
    return ", ".join([*told, *([_told(rest)] if rest else [])]) or "default"


def _choices(options: Options) -> Options:
    return frozenset((key, value) for key, value in options if key in _CHOICES)


def _told(options: Options) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(options))


def _options(typed: Iterable[str]) -> Options:
    last = {key.lstrip("+"): value for key, _, value in (override.partition("=") for override in typed)}
    return frozenset(
        (key, value)
        for key, value in last.items()
        if key not in _LEFT_ASIDE and not key.startswith(_LEFT_ASIDE_BEGINNINGS)
    )
