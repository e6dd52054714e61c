"""A window that shows what is read while it is read."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np


def can_show() -> bool:
    """Whether there is a display, and an OpenCV that can open windows on it."""
    has_display = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return has_display and "GUI:                           NONE" not in cv2.getBuildInformation()


def show(picture: np.ndarray) -> bool:
    """Shows a picture, RGB uint8 `(H, W, 3)`; False as soon as the user types q or Escape."""
    cv2.imshow("fer predict", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)
