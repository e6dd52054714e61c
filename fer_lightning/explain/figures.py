"""Figures of explanations: rows of faces with heat maps, and curves of deletion and insertion."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lightning.explain.faithfulness import Curves, area
from fer_lightning.plots.contact_sheet import new_sheet, place_image, rgb, write_caption
from fer_lightning.plots.style import INK, MUTED, class_colour, house_style

_COLUMNS = 8
_CELL_INCHES = 1.35
_NARROWEST = 6.0  # inches, so that the title has room
_LETTERS = 14  # of a note in an inch
_FEW = 2  # faces up to which the strips of a face stand beside each other
_GAP = 0.06
_LABEL = 1.05  # all lengths below are in cells as well
_LINE = 0.125  # of a cell of the smallest size
_BETWEEN = 0.2
_PIXELS = 224  # height and width of a drawn picture
_SMOOTH = 1 / 30
_HEAT = colormaps["turbo"]
_STRONGEST = 0.75  # opacity of the heat map where it is 1


@dataclass(frozen=True)
class Strip:
    """One row of pictures.

    Attributes:
        label: Label beside the row.
        pictures: uint8 (N, S, S, 3), one per face.
        captions: N texts of one or more lines below the pictures, or nothing.
    """

    label: str
    pictures: np.ndarray
    captions: Sequence[str] = ()


def faces_strip(faces: np.ndarray, captions: Sequence[str]) -> Strip:
    """Row of faces uint8 (N, S, S, C)."""
    return Strip("face", np.stack([_enlarged(rgb(face)) for face in faces]), captions)


def heat_strip(label: str, faces: np.ndarray, maps: np.ndarray, captions: Sequence[str]) -> Strip:
    """Row of heat maps (N, h, w) of any size in 0..1 over their faces uint8 (N, S, S, C)."""
    pairs = zip(faces, maps)
    pictures = [overlay(_enlarged(rgb(face)), _enlarged(heat).clip(0, 1)) for face, heat in pairs]
    return Strip(label, np.stack(pictures), captions)


def signed_strip(label: str, faces: np.ndarray, values: np.ndarray, captions: Sequence[str]) -> Strip:
    """Row of values (N, S, S) for (red) and against (blue) a class over pale faces uint8 (N, S, S, C).

    Noisy values of neighbouring pixels are smoothed by a Gaussian of a thirtieth of the image size. Each face has its
    own scale, which ends at the 99th percentile of its absolute values.
    """
    pictures = []
    for face, face_values in zip(faces, values):
        smooth = cv2.GaussianBlur(face_values, (0, 0), _SMOOTH * len(face_values))
        end = np.quantile(np.abs(smooth), 0.99) or 1.0
        scaled = (_enlarged(smooth) / end).clip(-1, 1)
        colours = 255 * colormaps["RdBu_r"](0.5 + scaled / 2)[..., :3]
        share = np.abs(scaled)[..., None]
        pale = 255 - 0.45 * (255.0 - _enlarged(rgb(face.mean(2, keepdims=True)).astype(np.uint8)))
        pictures.append(((1 - share) * pale + share * colours).round().astype(np.uint8))
    return Strip(label, np.stack(pictures), captions)


def map_strip(label: str, maps: np.ndarray, low: np.ndarray, high: np.ndarray) -> Strip:
    """Row of maps (N, h, w) of any size, without faces; the shades of face n end at `low[n]` and `high[n]`."""
    ends = zip(maps, low, high)
    scaled = [np.clip((shades - first) / max(last - first, 1e-12), 0, 1) for shades, first, last in ends]
    drawn = [
        cv2.resize(shades.astype(np.float32), (_PIXELS, _PIXELS), interpolation=cv2.INTER_NEAREST) for shades in scaled
    ]
    return Strip(label, (255 * colormaps["magma"](np.stack(drawn))[..., :3]).round().astype(np.uint8))


@house_style
def draw_strips(strips: Sequence[Strip], title: str, note: str = "") -> Figure:
    """Figure of strips below each other, eight faces wide; more faces continue below.

    Of one or two faces, the pictures of a face stand beside each other, each above its label.

    Args:
        strips: Strips with the same number of pictures, at least one.
        title: Title of the figure.
        note: Line below the title that explains the pictures.
    """
    if len(strips[0].pictures) <= _FEW < len(strips):
        strips = _beside_each_other(strips)
    count = len(strips[0].pictures)
    columns = min(_COLUMNS, count)
    blocks = -(-count // columns)
    margin = _LABEL if any(strip.label for strip in strips) else _GAP
    width = margin + columns * (1 + _GAP)
    cell = max(_CELL_INCHES, _NARROWEST / width)
    line = _LINE * _CELL_INCHES / cell
    notes = textwrap.wrap(note, int(_LETTERS * width * cell))
    top = 3.6 * line + 1.4 * line * len(notes)
    heights = [1 + _GAP + line * max((text.count("\n") + 1 for text in strip.captions), default=0) for strip in strips]
    height = top + blocks * sum(heights) + (blocks - 1) * _BETWEEN + _GAP
    figure, panel = new_sheet(width, height, cell)
    panel.text(2 * _GAP, 2 * line, title, va="center", fontsize=12, weight="bold")
    for number, text in enumerate(notes):
        panel.text(2 * _GAP, (4 + 1.4 * number) * line, text, va="center", fontsize=8.5, color=MUTED)
    for block in range(blocks):
        shown = slice(block * columns, (block + 1) * columns)
        upper = top + block * (sum(heights) + _BETWEEN)
        for strip, taken in zip(strips, heights):
            _draw_strip(panel, strip, shown, (margin, upper), line)
            upper += taken
    return figure


def _beside_each_other(strips: Sequence[Strip]) -> list[Strip]:
    """A strip of each face, with the pictures of all strips and their labels as captions."""
    captions = [strip.captions or [""] * len(strip.pictures) for strip in strips]
    return [
        Strip(
            "",
            np.stack([strip.pictures[face] for strip in strips]),
            [f"{strip.label}\n{texts[face]}".rstrip() for strip, texts in zip(strips, captions)],
        )
        for face in range(len(strips[0].pictures))
    ]


def _draw_strip(panel: Axes, strip: Strip, shown: slice, corner: tuple[float, float], line: float) -> None:
    margin, upper = corner
    label = strip.label.replace(", ", ",\n")
    panel.text(margin - 0.08, upper + 0.5, label, ha="right", va="center", fontsize=8.5, color=INK)
    captions = strip.captions or [""] * len(strip.pictures)
    for column, (picture, caption) in enumerate(zip(strip.pictures[shown], captions[shown])):
        left = margin + column * (1 + _GAP)
        place_image(panel, picture, left, upper, interpolation="antialiased")
        write_caption(panel, caption, left + 0.5, upper + 0.98, line)


@house_style
def draw_curves(
    curves: Mapping[str, Curves], moved: Mapping[str, Sequence[Curves]], noise: Sequence[Curves], title: str
) -> Figure:
    """Draws the mean curves over all faces: maps, the same maps at random places (dashed), noise (grey, dotted).

    The curves are as for `area_table`.
    """
    drawn: list[tuple[str, str, Any, Sequence[Curves]]] = []
    for index, (name, curve) in enumerate(curves.items()):
        drawn.append((name, class_colour(index), "-", [curve]))
        drawn.append((f"{name}, random places", class_colour(index), (0, (4, 2)), moved[name]))
    drawn.append(("noise", MUTED, (0, (1, 1.5)), noise))
    figure = Figure(figsize=(9.6, 4.8), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    deletion, insertion = figure.subplots(1, 2, sharey=True)
    for name, colour, style, traced in drawn:
        means = [np.mean([getattr(one, score) for one in traced], axis=(0, 1)) for score in ("deletion", "insertion")]
        label = f"{name}: {area(means[0]):.3f}, {area(means[1]):.3f}"
        for panel, mean in zip((deletion, insertion), means):
            panel.plot(np.linspace(0, 1, len(mean)), mean, color=colour, linestyle=style, label=label)
    for panel in (deletion, insertion):
        panel.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        panel.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    deletion.set(xlim=(0, 1), ylim=(0, None), xlabel="deleted pixels", ylabel="probability of the predicted class")
    insertion.set(xlim=(0, 1), xlabel="inserted pixels")
    deletion.set_title("deletion: a smaller area is better", fontsize=10.5)
    insertion.set_title("insertion: a larger area is better", fontsize=10.5)
    handles, labels = deletion.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3, title="areas of deletion and insertion")
    return figure


def _enlarged(picture: np.ndarray) -> np.ndarray:
    floats = picture.dtype != np.uint8
    size = (_PIXELS, _PIXELS)
    return cv2.resize(picture.astype(np.float32) if floats else picture, size, interpolation=cv2.INTER_CUBIC)


def predicted_caption(probabilities: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Predicted class of each face with its probability, as in `"sad 62 %"`; `probabilities` is (N, K)."""
    return target_caption(probabilities, probabilities.argmax(1), classes)


def target_caption(probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Class `targets` (N,) of each face with its probability; `probabilities` is (N, K)."""
    return [f"{classes[target]} {row[target]:.0%}".replace("%", " %") for row, target in zip(probabilities, targets)]


def overlay(face: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Face uint8 (S, S, C) coloured by a heat map (S, S) in 0..1, as uint8 (S, S, 3); unchanged where the map is 0."""
    share = _STRONGEST * np.sqrt(heat)[..., None]
    blended = (1 - share) * face + share * 255 * _HEAT(heat)[..., :3]
    return blended.round().astype(np.uint8)
