"""Sheets of many small images with captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_lightning.plots.style import house_style

_CELL_INCHES = 1.15
_GAP = 0.08
_CAPTION_LINE_INCHES = 0.14
_TITLE_INCHES = 0.5
_FEWEST_COLUMNS = 5  # the title needs room


def new_sheet(width: float, height: float, cell_inches: float) -> tuple[Figure, Axes]:
    """Empty sheet, in units of one image of `cell_inches`, with the origin at the upper left.

    It has one Axes for all images: an Axes for each would draw a hundred times more slowly.
    """
    figure = Figure(figsize=(width * cell_inches, height * cell_inches))
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    panel.axis("off")
    return figure, panel


def rgb(image: np.ndarray) -> np.ndarray:
    """Image `(H, W, 1 or 3)` with three channels."""
    return np.repeat(image, 3 // image.shape[2], axis=2)


def place_image(
    panel: Axes, image: np.ndarray, left: float, top: float, height: float = 1.0, interpolation: str = "nearest"
) -> None:
    """Draws an image `(H, W, 1 or 3)` of width 1 on a sheet."""
    extent = (left, left + 1, top + height, top)
    panel.imshow(rgb(image), extent=extent, interpolation=interpolation, aspect="auto")


def write_caption(panel: Axes, caption: str, middle: float, top: float, line_height: float) -> None:
    """Writes the lines of a caption on a sheet, each on its own baseline.

    As one text, captions with and without tall letters would not align.
    """
    for number, line in enumerate(caption.split("\n"), start=1):
        panel.text(middle, top + number * line_height, line, ha="center", va="baseline", fontsize=7.5)


@house_style
def draw_contact_sheet(images: np.ndarray, captions: Sequence[str], columns: int, title: str) -> Figure:
    """Draws images in rows, each above its caption.

    Args:
        images: uint8 `(N, H, W, C)` with one or three channels.
        captions: N captions, of one or several lines.
        columns: Images per row; a sheet of few images is narrower.
        title: Title of the sheet.

    Raises:
        ValueError: The images have another shape or type, or the number of captions differs from that of images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(f"images must be uint8 (N, H, W, 1 or 3); got {images.dtype} {images.shape}.")
    if len(images) != len(captions):
        raise ValueError(f"There must be {len(images)} captions, one per image; got {len(captions)}.")
    columns = min(columns, max(len(images), _FEWEST_COLUMNS))
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    rows = max(1, -(-len(images) // columns))
    height = images.shape[1] / images.shape[2] if len(images) else 1.0
    pitch = height + (lines * _CAPTION_LINE_INCHES + 0.12) / _CELL_INCHES
    top = _TITLE_INCHES / _CELL_INCHES
    figure, panel = new_sheet(columns * (1 + _GAP) + _GAP, rows * pitch + top, _CELL_INCHES)
    panel.text(_GAP, top / 2, title, va="center", fontsize=11, weight="bold", wrap=True)
    for position, (image, caption) in enumerate(zip(images, captions)):
        row, column = divmod(position, columns)
        left, upper = _GAP + column * (1 + _GAP), top + row * pitch
        place_image(panel, image, left, upper, height)
        write_caption(panel, caption, left + 0.5, upper + height, _CAPTION_LINE_INCHES / _CELL_INCHES)
    return figure


def error_caption(target: int, probabilities: np.ndarray, classes: Sequence[str]) -> str:
    """Two-line caption of a misclassified image, for example `"true sad"` and `"fear 93%"`."""
    predicted = int(probabilities.argmax())
    return f"true {classes[target]}\n{classes[predicted]} {100 * probabilities[predicted]:.0f}%"
