from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fer_lightning.report.embedded_figure import embed_figure


def drawn(points: int) -> Figure:
    figure = Figure(figsize=(4, 3))
    rng = np.random.default_rng(0)
    figure.subplots().scatter(*rng.random((2, points)), c=rng.random(points))
    return figure


def content(address: str, kind: str) -> bytes:
    start = f"data:{kind};base64,"
    assert address.startswith(start)
    return base64.b64decode(address.removeprefix(start))


def test_a_small_figure_is_a_drawing():
    root = ElementTree.fromstring(content(embed_figure(drawn(5)), "image/svg+xml"))
    assert root.tag.endswith("svg") and (root.get("width"), root.get("height")) == ("288pt", "216pt")


def test_a_figure_with_many_points_is_an_image():
    assert Image.open(io.BytesIO(content(embed_figure(drawn(2000)), "image/png"))).size == (600, 450)


def test_the_same_figure_is_the_same_text():
    assert embed_figure(drawn(5)) == embed_figure(drawn(5))
