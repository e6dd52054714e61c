from __future__ import annotations

import sys

import cv2

from fer_lightning.deploy.window import can_show


def test_a_window_needs_a_display_and_an_opencv_that_opens_windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3")
    assert not can_show()
    monkeypatch.setenv("DISPLAY", ":0")
    assert can_show()
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE")
    assert not can_show()
