from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.report.reliability import draw_reliability


@pytest.mark.filterwarnings("error")
def test_bars_by_hand():
    # Bins of 1/15: .55 (right) and .59 (wrong) lie in the ninth, .99 (right) in the last.
    confidence = np.array([0.55, 0.59, 0.99])
    figure = draw_reliability(np.array([0, 1, 0]), np.stack([confidence, 1 - confidence], axis=1), "test")
    upper, lower = figure.axes
    bars = upper.containers[0]
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([8.5 / 15, 14.5 / 15])
    assert [bar.get_height() for bar in bars] == pytest.approx([0.5, 1])
    assert [gap.get_height() for gap in upper.containers[1]] == pytest.approx([0.57 - 0.5, 0.99 - 1])
    assert [bar.get_height() for bar in lower.containers[0]] == pytest.approx([0] * 8 + [2 / 3] + [0] * 5 + [1 / 3])
    error = 2 / 3 * 0.07 + 1 / 3 * 0.01
    assert upper.get_title(loc="left") == f"Reliability, test: calibration error {error:.1%}"


@pytest.mark.filterwarnings("error")
def test_with_a_temperature_the_scaled_predictions_come_beside():
    confidence = np.array([0.7, 0.8, 0.9])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    figure = draw_reliability(np.array([0, 1, 0]), probabilities, "test", temperature=2.0)
    titles = [panel.get_title(loc="left") for panel in figure.axes[:2]]
    # Under temperature 2, p becomes sqrt(p) / (sqrt(p) + sqrt(1 - p)).
    scaled = confidence**0.5 / (confidence**0.5 + (1 - confidence) ** 0.5)
    assert scaled == pytest.approx([0.604, 0.667, 0.75], abs=1e-3)
    assert titles[0] == f"Reliability, test: calibration error {(0.3 + 0.8 + 0.1) / 3:.1%}"
    # The first two lie in one bin, up to 2 / 3: mean confidence 0.635 against accuracy 0.5.
    assert titles[1] == f"With temperature 2.00: calibration error {(2 * (scaled[:2].mean() - 0.5) + 0.25) / 3:.1%}"
    assert [panel.get_ylabel() for panel in figure.axes] == ["accuracy", "", "share of images", ""]
