"""Figures of a search: course, importances of the parameters, and their best values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fer_lightning.errors import UserError
from fer_lightning.plots.style import ACCENT, FAINT, INK, MUTED, TRAIN, VALIDATION, house_style

_PHASES = {"first generation": "#eef0f3", "exploring": "#e3eff7", "chasing": "#faebe3"}
# From bad to good.
_LINES = LinearSegmentedColormap.from_list("trials", ["#d5dbe3", "#88b8d6", VALIDATION, ACCENT])
_LINES_REVERSED = _LINES.reversed()
_PANELS_IN_A_ROW = 3
_LEGEND_IN_A_ROW = 5
_SHORT_NAMES = 24  # letters that fit below a panel


def draw_search(study: Study, objective: str) -> tuple[dict[str, Figure], list[str]]:
    """Draws all figures of a study.

    Args:
        study: Study with trials in any state.
        objective: Name of the objective, such as `val/loss`.

    Returns:
        The figures `fitness`, `slices`, `parallel_coordinates` and `importances` by file name without suffix, and a
        sentence for each that cannot be drawn.
    """
    figures, missing = {}, []
    for name, draw in (
        ("fitness", draw_fitness),
        ("importances", draw_importances),
        ("slices", draw_slices),
        ("parallel_coordinates", draw_parallel_coordinates),
    ):
        try:
            figures[name] = draw(study, objective)
        except UserError as error:
            missing.append(f"No figure of the {name.replace('_', ' ')}: {error}")
    return figures, missing


@house_style
def draw_fitness(study: Study, objective: str) -> Figure:
    """Draws the value of each trial and the best so far (the fitness curve, Fig. 3 of PsySFA-Net).

    A pruned trial is drawn at its last reported value; failed trials and those far worse than nearly all others are
    drawn at the edge. Generations of MBOA are shaded by their phase. Arguments as for `draw_search`.

    Raises:
        UserError: No trial has a value.
    """
    trials = study.get_trials(deepcopy=False)
    complete, pruned = _with_value(trials, TrialState.COMPLETE), _with_value(trials, TrialState.PRUNED)
    lost = [trial for trial in trials if trial.state.is_finished() and trial not in (*complete, *pruned)]
    if not complete and not pruned:
        raise UserError("no trial reported a value.")
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panel = figure.subplots()
    panel.set_title(f"Search: {objective} of each trial")
    panel.set_xlabel("trial")
    panel.set_xlim(-0.7, max(trial.number for trial in trials) + 0.7)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.grid(visible=False, axis="x")
    _label_objective(panel, study, objective)
    shades = _shade_generations(panel, study, len(trials))
    limit = _limit(study, [*complete, *pruned])
    near = [[trial for trial in group if not _beyond(trial, limit)] for group in (complete, pruned)]
    far = [trial for trial in (*complete, *pruned) if _beyond(trial, limit)]
    _draw_dots(panel, near[0], "complete", face=VALIDATION, edge="white")
    _draw_dots(panel, near[1], "pruned", face="white", edge=TRAIN)
    maximised = study.direction == StudyDirection.MAXIMIZE
    _mark_at_edge(panel, far, "off the scale", marker="v" if maximised else "^", top=not maximised)
    _mark_at_edge(panel, lost, "failed", marker="x", top=maximised)
    if complete:
        _draw_best(panel, study, complete)
    handles = [*panel.get_legend_handles_labels()[0], *shades]
    rows = math.ceil(len(handles) / _LEGEND_IN_A_ROW)
    figure.legend(handles=handles, loc="outside lower center", ncols=math.ceil(len(handles) / rows))
    return figure


@house_style
def draw_importances(study: Study, objective: str) -> Figure:
    """Draws the importance of each parameter, estimated by Optuna's PED-ANOVA (Watanabe et al., 2023).

    It compares the distribution of the better trials with that of all trials. Arguments as for `draw_search`.

    Raises:
        UserError: The trials cannot be compared.
    """
    _check_comparable(study)
    shares = get_param_importances(study)
    if len(shares) < 2:
        raise UserError("the search has only one parameter.")
    names = sorted(shares, key=lambda name: shares[name])
    figure = Figure(figsize=(8, 1.4 + 0.42 * len(names)), layout="constrained")
    panel = figure.subplots()
    panel.set_title(f"Importance of the parameters for {objective}")
    bars = panel.barh(names, [shares[name] for name in names], color=VALIDATION, height=0.62)
    panel.bar_label(bars, [f"{shares[name]:.0%}" for name in names], padding=4, color=INK)
    panel.set_xlabel(f"importance (PED-ANOVA, {len(_complete(study))} complete trials)")
    panel.set_xlim(0, 1.08 * max(shares.values()))
    panel.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    panel.grid(visible=False, axis="y")
    panel.tick_params(axis="y", length=0)
    return figure


@house_style
def draw_slices(study: Study, objective: str) -> Figure:
    """Draws the value of each complete trial against each of its parameters; those far worse than most are left out.

    Arguments as for `draw_search`.

    Raises:
        UserError: No trial is complete, or none has parameters.
    """
    trials = _complete(study)
    spaces = _spaces(trials)
    columns = min(_PANELS_IN_A_ROW, len(spaces))
    rows = math.ceil(len(spaces) / columns)
    figure = Figure(figsize=(1.2 + 3.2 * columns, 0.8 + 2.7 * rows), layout="constrained")
    limit = _limit(study, trials)
    near = [trial for trial in trials if not _beyond(trial, limit)]
    left_out = f"; {len(trials) - len(near)} far worse left out" if len(near) < len(trials) else ""
    title = f"{objective} against each parameter"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(f"later trials are darker, the best one is orange{left_out}", fontsize=9, color=MUTED)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for panel in panels.flat[len(spaces) :]:
        panel.remove()
    best = study.best_trial
    for panel, (name, space) in zip(panels.flat, spaces.items()):
        shown = [trial for trial in near if name in trial.params]
        at = {trial.number: space.to_internal_repr(trial.params[name]) for trial in shown}
        panel.scatter(
            list(at.values()),
            [_value(trial) for trial in shown],
            c=[trial.number for trial in shown],
            cmap="Blues",
            vmin=-0.4 * len(trials),
            s=24,
            edgecolors="white",
            linewidths=0.5,
        )
        if best.number in at:
            panel.plot(at[best.number], best.value, "o", color=ACCENT, markersize=7, markeredgecolor="white")
        panel.set_xlabel(name)
        _scale_parameter(panel, space)
    for panel in panels[:, 0]:
        _label_objective(panel, study, objective)
    return figure


@house_style
def draw_parallel_coordinates(study: Study, objective: str) -> Figure:
    """Draws each complete trial as a line through its parameters (Optuna's figure in our size and colours).

    Arguments as for `draw_search`.

    Raises:
        UserError: The trials cannot be compared.
    """
    _check_comparable(study)
    # Optuna draws with pyplot, which would open a window on a desktop.
    matplotlib.use("agg")
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        panel = plot_parallel_coordinate(study, target_name=objective)
    figure = panel.figure
    assert isinstance(figure, Figure)
    pyplot.close(figure)
    names = [objective, *sorted(_spaces(_complete(study)))]
    width, height = 2.8 + 1.6 * len(names), 5.0  # inches
    figure.set_size_inches(width, height)
    bar = figure.axes[1]
    for axis in figure.axes:
        left, wide = (width - 1.0, 0.15) if axis is bar else (0.9, width - 2.8)
        axis.set_position((left / width, 0.7 / height, wide / width, (height - 1.3) / height))
        axis.set_box_aspect(None)
        axis.grid(visible=False)
        axis.tick_params(axis="y", length=3)
        axis.spines["right"].set_visible(True)
        for label in axis.get_yticklabels():
            label.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8})
    panel.set_title(f"Trials by {objective}")
    panel.set_xticks(range(len(names)), [name.replace(".", ".\n") for name in names], rotation=0)
    (lines,) = panel.collections
    lines.set(cmap=_LINES_REVERSED if study.direction == StudyDirection.MINIMIZE else _LINES, linewidth=1.1, alpha=0.8)
    return figure


def _draw_dots(panel: Axes, trials: Sequence[FrozenTrial], label: str, face: str, edge: str) -> None:
    if trials:
        numbers, values = [trial.number for trial in trials], [_value(trial) for trial in trials]
        panel.scatter(numbers, values, s=34, c=face, edgecolors=edge, linewidths=1.1, label=label, zorder=3)


def _mark_at_edge(panel: Axes, trials: Sequence[FrozenTrial], label: str, marker: str, top: bool) -> None:
    if trials:
        numbers, heights = [trial.number for trial in trials], [0.98 if top else 0.02] * len(trials)
        across = panel.get_xaxis_transform()
        panel.scatter(numbers, heights, s=26, c=MUTED, marker=marker, label=label, transform=across, zorder=3)


def _with_value(trials: Sequence[FrozenTrial], state: TrialState) -> list[FrozenTrial]:
    return [
        trial for trial in trials if trial.state == state and trial.value is not None and math.isfinite(trial.value)
    ]


def _complete(study: Study) -> list[FrozenTrial]:
    return _with_value(study.get_trials(deepcopy=False), TrialState.COMPLETE)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _check_comparable(study: Study) -> None:
    trials = _complete(study)
    if len(trials) < 2:
        raise UserError("fewer than two trials are complete.")
    if len({trial.value for trial in trials}) == 1:
        raise UserError(f"all {len(trials)} complete trials have the same value.")
    _spaces(trials)


def _spaces(trials: Sequence[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Distributions of all parameters of some trials."""
    if not trials:
        raise UserError("no trial is complete.")
    spaces = {name: space for trial in trials for name, space in trial.distributions.items()}
    if not spaces:
        raise UserError("the trials have no parameters.")
    return spaces


def _scale_parameter(panel: Axes, space: BaseDistribution) -> None:
    if isinstance(space, CategoricalDistribution):
        names = [str(choice) for choice in space.choices]
        panel.set_xticks(range(len(names)), names)
        if sum(map(len, names)) > _SHORT_NAMES:
            for label in panel.get_xticklabels():
                label.set(rotation=20, horizontalalignment="right", rotation_mode="anchor")
        panel.set_xlim(-0.5, len(names) - 0.5)
    elif isinstance(space, (FloatDistribution, IntDistribution)):
        if space.log:
            panel.set_xscale("log")
        elif isinstance(space, IntDistribution):
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        # The whole range, with a margin for the dots at its ends.
        ends = np.log([space.low, space.high]) if space.log else np.array([space.low, space.high])
        margin = 0.05 * (ends[1] - ends[0]) * np.array([-1, 1])
        panel.set_xlim(*(np.exp(ends + margin) if space.log else ends + margin))


def _label_objective(panel: Axes, study: Study, objective: str) -> None:
    better = "higher" if study.direction == StudyDirection.MAXIMIZE else "lower"
    panel.set_ylabel(f"{objective} ({better} is better)")


def _limit(study: Study, trials: Sequence[FrozenTrial]) -> tuple[float, float]:
    """Range of the drawn values, so that a few diverged trials do not flatten all others."""
    worse = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    losses = worse * np.array([_value(trial) for trial in trials])
    highest = losses.min() + 2 * (np.quantile(losses, 0.9) - losses.min())
    return (-highest, np.inf) if worse < 0 else (-np.inf, highest)


def _beyond(trial: FrozenTrial, limit: tuple[float, float]) -> bool:
    return not limit[0] <= _value(trial) <= limit[1]


def _draw_best(panel: Axes, study: Study, complete: Sequence[FrozenTrial]) -> None:
    values = np.array([_value(trial) for trial in complete])
    so_far = np.maximum if study.direction == StudyDirection.MAXIMIZE else np.minimum
    numbers = [trial.number for trial in complete]
    best = so_far.accumulate(values)
    panel.step(numbers, best, where="post", color=ACCENT, label="best so far", zorder=2)
    first = numbers[int(np.flatnonzero(values == best[-1])[0])]
    label = f"best: trial {first}, {best[-1]:.4g}"
    panel.plot([first], [best[-1]], "o", color=ACCENT, markersize=8, markeredgecolor="white", label=label, zorder=4)


def _shade_generations(panel: Axes, study: Study, count: int) -> list[Patch]:
    """Shades the generations of MBOA: the first one is scattered, odd ones explore and even ones chase."""
    population = study.user_attrs.get("mboa", {}).get("population")
    if not population:
        return []
    generations = range(math.ceil(count / population))
    phases = ["first generation" if not g else "exploring" if g % 2 else "chasing" for g in generations]
    for generation, phase in zip(generations, phases):
        start = generation * population - 0.5
        panel.axvspan(start, start + population, color=_PHASES[phase], linewidth=0, zorder=0)
        if generation:
            panel.axvline(start, color=FAINT, linewidth=0.8, zorder=0.5)
    return [Patch(color=colour, label=phase) for phase, colour in _PHASES.items() if phase in phases]
