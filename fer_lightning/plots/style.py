"""Style of all figures, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fer_lightning.files import write_whole

INK = "#22262b"
MUTED = "#6b7280"
FAINT = "#d9dde3"
TRAIN = "#8a94a3"
VALIDATION = "#0b6ea8"
ACCENT = "#c8541b"
# Colour map of shares from 0 to 1.
SHADES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#cfe3f1", "#5b9fcb", "#0b5c91", "#08375a"])
# Paul Tol's "muted" scheme, safe for colour-blind readers, in an order that keeps similar hues apart.
CLASS_COLOURS = ("#882255", "#999933", "#332288", "#e0b020", "#88ccee", "#cc6677", "#117733", "#44aa99")
CLASS_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))
_SETTINGS = {
    "text.parse_math": False,  # names may contain $
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
}
# A decorator: the settings apply only while a figure is made.
house_style = rc_context(_SETTINGS)  # type: ignore[arg-type]


def class_colour(index: int) -> str:
    """Colour of class `index`, the same in all figures."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def class_dash(index: int) -> Any:
    """Line style of class `index`, which distinguishes classes of the same colour."""
    return CLASS_DASHES[(index // len(CLASS_COLOURS)) % len(CLASS_DASHES)]


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes every figure atomically as `<folder>/<name>.png`, see `write_whole`.

    Args:
        folder: Folder, which is created if needed.
        figures: Figures by file name without suffix.

    Returns:
        Paths of the files, in the order of `figures`.
    """
    return [
        write_whole(folder / f"{name}.png", partial(figure.savefig, format="png", dpi=150))
        for name, figure in figures.items()
    ]
