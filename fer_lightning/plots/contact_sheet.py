"""Many small images with captions on one page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fer_lightning.plots.style import house_style

_CELL_INCHES = 1.15
_GAP = 0.08
_CAPTION_LINE_INCHES = 0.14
_TITLE_INCHES = 0.5
_FEWEST_COLUMNS = 5  # the title needs room


@house_style
def draw_contact_sheet(images: np.ndarray, captions: Sequence[str], columns: int, title: str) -> Figure:
    """Draws images in rows, each above its caption.

    Args:
        images: uint8 `(N, H, W, C)` with one or three channels.
        captions: N captions, of one or several lines.
        columns: Images a row; a sheet of few images is narrower.
        title: Above the sheet.

    Raises:
        ValueError: The images are not of that form, or there are more or fewer captions than images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(f"A contact sheet takes uint8 (N, H, W, 1 or 3), not {images.dtype} {images.shape}.")
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images but {len(captions)} captions.")
    columns = min(columns, max(len(images), _FEWEST_COLUMNS))
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    rows = max(1, -(-len(images) // columns))
    # All lengths are in units of one cell: one Axes for everything draws a hundred times faster than one an image.
    height = images.shape[1] / images.shape[2] if len(images) else 1.0
    pitch = height + (lines * _CAPTION_LINE_INCHES + 0.12) / _CELL_INCHES
    top = _TITLE_INCHES / _CELL_INCHES
    width_cells, height_cells = columns * (1 + _GAP) + _GAP, rows * pitch + top

    figure = Figure(figsize=(width_cells * _CELL_INCHES, height_cells * _CELL_INCHES))
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, width_cells), ylim=(height_cells, 0))
    panel.axis("off")
    panel.text(_GAP, top / 2, title, va="center", fontsize=11, weight="bold", wrap=True)
    for position, (image, caption) in enumerate(zip(images, captions)):
        row, column = divmod(position, columns)
        left, upper = _GAP + column * (1 + _GAP), top + row * pitch
        pixels = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        panel.imshow(pixels, extent=(left, left + 1, upper + height, upper), interpolation="nearest", aspect="auto")
        # Line by line on a baseline: as one text, captions with and without tall letters would not align.
        for number, line in enumerate(caption.split("\n"), start=1):
            baseline = upper + height + number * _CAPTION_LINE_INCHES / _CELL_INCHES
            panel.text(left + 0.5, baseline, line, ha="center", va="baseline", fontsize=7.5)
    panel.set(xlim=(0, width_cells), ylim=(height_cells, 0))
    return figure


def error_caption(target: int, probabilities: np.ndarray, classes: Sequence[str]) -> str:
    """Two lines about a mistake, for example `"true sad"` and `"fear 93%"`."""
    predicted = int(probabilities.argmax())
    return f"true {classes[target]}\n{classes[predicted]} {100 * probabilities[predicted]:.0f}%"
