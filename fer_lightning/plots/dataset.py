"""Faces before and after alignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_lightning.plots.style import ACCENT, MUTED, house_style

_COLUMNS = 6
_CELL_INCHES = 1.3
_GAP = 0.08
_TITLE = 0.45
_MARGIN = 0.3  # for the words beside the rows
_CAPTION = 0.3


@house_style
def draw_alignment(
    before: np.ndarray, points: np.ndarray, after: np.ndarray, captions: Sequence[str], title: str
) -> Figure:
    """Draws each face with its landmarks, and below it the aligned one.

    Args:
        before: uint8 `(N, S, S, C)` with one or three channels.
        points: `(N, 68, 2)`, landmarks in pixels of `before`, from 0 at the edge of the picture to S at the other.
        after: uint8 `(N, S, S, C)`.
        captions: N words, below the faces.
        title: Above the sheet.
    """
    size = before.shape[1]
    pitch = 2 + _GAP + _CAPTION
    width, height = _MARGIN + _COLUMNS * (1 + _GAP), _TITLE + max(1, -(-len(before) // _COLUMNS)) * pitch
    figure = Figure(figsize=(width * _CELL_INCHES, height * _CELL_INCHES))
    # One Axes for everything, in units of one picture: one for each would take a hundred times longer.
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    panel.axis("off")
    panel.text(_MARGIN, _TITLE / 2, title, va="center", fontsize=12, weight="bold")
    for position in range(len(before)):
        row, column = divmod(position, _COLUMNS)
        left, top = _MARGIN + column * (1 + _GAP), _TITLE + row * pitch
        _draw(panel, before[position], left, top)
        _draw(panel, after[position], left, top + 1 + _GAP)
        places = points[position] / size
        shown = places[((places >= 0) & (places <= 1)).all(axis=1)] + (left, top)
        panel.plot(shown[:, 0], shown[:, 1], ".", markersize=2.6, markeredgewidth=0, color=ACCENT)
        panel.text(left + 0.5, top + 2 + _GAP + 0.14, captions[position], ha="center", va="center", fontsize=8)
        if column == 0:
            for offset, word in ((0.5, "before"), (1.5 + _GAP, "after")):
                panel.text(
                    _MARGIN / 2, top + offset, word, rotation=90, ha="center", va="center", fontsize=9, color=MUTED
                )
    panel.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _draw(panel: Axes, image: np.ndarray, left: float, top: float) -> None:
    pixels = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    panel.imshow(pixels, extent=(left, left + 1, top + 1, top), interpolation="nearest", aspect="auto")
