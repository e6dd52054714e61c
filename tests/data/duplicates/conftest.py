"""A dataset in which everything is wrong that an audit looks for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """24 different pictures in `split/class`, and beside them copies, two blank ones and a broken file."""
    rng = np.random.default_rng(5)
    root = tmp_path / "planted"
    pictures = {}
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        for name in ("happy", "sad"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                smooth = cv2.GaussianBlur(rng.normal(0, 1, (48, 48)), (0, 0), 4)
                pictures[f"{split}/{name}/{number}.png"] = (128 + 400 * smooth).clip(0, 255).astype(np.uint8)
    black = np.zeros((48, 48), np.uint8)
    copies = {
        "train/happy/again.png": pictures["train/happy/1.png"],
        "test/happy/copy.png": pictures["train/sad/0.png"],
        "test/sad/darker.png": pictures["train/sad/2.png"] // 2 + 60,
        "val/happy/mirrored.png": pictures["train/happy/3.png"][:, ::-1],
        "train/sad/blank.png": black,
        "test/happy/blank.png": black,
    }
    for name, picture in {**pictures, **copies}.items():
        assert cv2.imwrite(str(root / name), picture)
    (root / "train" / "happy" / "broken.png").write_bytes(b"no picture")
    return root
