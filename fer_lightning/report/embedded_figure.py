"""A figure as part of a page."""

from __future__ import annotations

import base64
import io

from matplotlib import rc_context
from matplotlib.figure import Figure

_MOST_SVG_BYTES = 150_000


def embed_figure(figure: Figure) -> str:
    """The figure as a `data:` address for an `<img>`: SVG, or PNG where SVG would be large; the same for the same.

    Args:
        figure: Any figure; one with many points makes a large SVG.
    """
    # Without it, names within the file are random and each page would differ from the last.
    with rc_context({"svg.hashsalt": "figure"}):
        svg = _rendered(figure, "svg", metadata={"Date": None})
    if len(svg) <= _MOST_SVG_BYTES:
        return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return f"data:image/png;base64,{base64.b64encode(_rendered(figure, 'png', metadata={})).decode()}"


def _rendered(figure: Figure, form: str, metadata: dict[str, str | None]) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format=form, dpi=150, metadata=metadata)
    return written.getvalue()
