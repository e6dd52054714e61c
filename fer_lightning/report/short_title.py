"""Titles of rows where a picture has little room."""

from __future__ import annotations


def shorten(title: str, most: int) -> str:
    """The title, cut to `most` characters with an ellipsis where it is longer."""
    return title if len(title) <= most else title[: most - 1].rstrip() + "…"
