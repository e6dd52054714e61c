"""Which variants differ in rank: the critical-difference diagram."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_lightning.results.critical_difference import CriticalDifference
from fer_lightning.plots.style import ACCENT, INK, MUTED, VALIDATION, house_style

_LINE = 0.62  # height of a name, in units of the panel
_BAR = 0.3  # distance of two bars


@house_style
def draw_rank_diagram(result: CriticalDifference, blocks: str) -> Figure:
    """Draws mean ranks on an axis, best left, and joins by a bar what the test does not tell apart.

    Args:
        result: Ranks, groups and the critical difference.
        blocks: What the blocks are, for example `"seeds"`.

    Source: Demšar, JMLR 7, 2006, figure 1.
    """
    count = len(result.ranks)
    left = (count + 1) // 2
    depth = _BAR * (len(result.groups) + 1) + _LINE * left
    figure = Figure(figsize=(10, 1.6 + 0.5 * depth), layout="constrained")
    panel = figure.subplots()
    margin = 0.45 * (count - 1)  # for the names
    panel.set(xlim=(1 - margin, count + margin), ylim=(_LINE - depth - 0.35, 1.1))
    panel.axis("off")
    panel.plot([1, count], [0, 0], color=MUTED, linewidth=1)
    for rank in range(1, count + 1):
        panel.plot([rank, rank], [0, 0.12], color=MUTED, linewidth=1)
        panel.text(rank, 0.2, str(rank), ha="center", va="bottom", fontsize=9, color=MUTED)
    _draw_critical(panel, result)
    top = _BAR * (len(result.groups) + 1)
    for place, (name, rank) in enumerate(result.ranks.items()):
        to_left = place < left
        height = -top - _LINE * (place if to_left else count - 1 - place)
        end = 1 - 0.04 * margin if to_left else count + 0.04 * margin
        panel.plot([rank, rank, end], [0, height, height], color=INK, linewidth=0.9)
        panel.plot([rank], [0], "o", color=VALIDATION, markersize=6, markeredgecolor="white", zorder=3)
        told = f"{name}  {rank:.2f}" if to_left else f"{rank:.2f}  {name}"
        shift = -0.03 * margin if to_left else 0.03 * margin
        panel.text(end + shift, height, told, ha="right" if to_left else "left", va="center")
    for place, group in enumerate(result.groups):
        ranks = result.ranks[group]
        height = -_BAR * (place + 1)
        panel.plot([ranks.min() - 0.03, ranks.max() + 0.03], [height, height], color=ACCENT, linewidth=4)
    panel.set_title(
        f"Mean rank over {result.blocks} {blocks}: Friedman p {_p(result.friedman_p)}; "
        "a bar joins what Nemenyi does not tell apart"
    )
    return figure


def _draw_critical(panel: Axes, result: CriticalDifference) -> None:
    end = 1 + result.critical
    panel.plot([1, end], [0.75, 0.75], color=ACCENT, linewidth=1.6)
    for edge in (1, end):
        panel.plot([edge, edge], [0.68, 0.82], color=ACCENT, linewidth=1.6)
    label = f"critical difference {result.critical:.2f} (level {result.alpha:g})"
    panel.text(1, 0.92, label, ha="left", va="bottom", fontsize=9, color=ACCENT)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
