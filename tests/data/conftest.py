"""Small datasets on disk: image files and pixel CSVs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

PixelRow = tuple[object, int, str]


@pytest.fixture
def write_image() -> Callable[..., None]:
    """Writes a grey image of one level (PNG by default, so that the level can be read back)."""

    def write(path: Path, level: int = 0, side: int = 8) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _, content = cv2.imencode(path.suffix, np.full((side, side), level, np.uint8))
        path.write_bytes(content.tobytes())

    return write


@pytest.fixture
def write_pixel_csv() -> Callable[..., Path]:
    """Writes rows `(emotion, level, usage)` as 48 x 48 images of one level, under any header."""

    def write(path: Path, rows: Sequence[PixelRow], header: str = "emotion,pixels,Usage") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [header]
        for emotion, level, usage in rows:
            fields = {"emotion": str(emotion), "pixels": " ".join([str(level)] * 48 * 48), "Usage": usage}
            lines.append(",".join(fields[name.strip()] for name in header.split(",")))
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
