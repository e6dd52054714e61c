from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, average_precision_score, confusion_matrix, roc_auc_score

from fer_lightning.plots.predictions import (
    draw_confusion,
    draw_curves,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
)

CLASSES = ["angry", "sad", "happy"]
CURVE_CLASSES = ["angry", "sad", "happy"]


def test_shows_row_percentages_and_counts():
    random = np.random.default_rng(0)
    targets, probabilities = random.integers(0, 3, 90), random.dirichlet(np.ones(3), 90)
    panel = draw_confusion(targets, probabilities, CLASSES, "test").axes[0]
    predicted = probabilities.argmax(axis=1)
    share = confusion_matrix(targets, predicted, labels=[0, 1, 2], normalize="true")
    assert np.allclose(panel.images[0].get_array(), share)
    texts = [text.get_text() for text in panel.texts]
    assert texts[::2] == [f"{100 * value:.1f}" for value in share.ravel()]
    assert texts[1::2] == [str(count) for count in confusion_matrix(targets, predicted, labels=[0, 1, 2]).ravel()]
    assert f"{(targets == predicted).mean():.1%} of 90 right" in panel.get_title(loc="left")


@pytest.mark.filterwarnings("error")
def test_says_which_class_has_no_images():
    figure = draw_confusion(np.array([0, 2, 2]), np.eye(3)[[0, 2, 1]], CLASSES, "test")
    figure.savefig("/dev/null", format="png")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("no images") == 1
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["angry\n1", "sad\n0", "happy\n2"]


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 300)
    scores = np.exp(random.normal(size=(300, 3)) + np.eye(3)[targets])
    return targets, scores / scores.sum(axis=1, keepdims=True)


def test_the_legend_names_sklearns_areas(predictions):
    targets, probabilities = predictions
    panel = draw_roc(targets, probabilities, CURVE_CLASSES, "test").axes[0]
    areas = [roc_auc_score(targets == index, probabilities[:, index]) for index in range(3)]
    labels = [text.get_text() for text in panel.get_legend().get_texts()]
    assert labels[1:] == [
        *(f"{name}, AUC {area:.3f}" for name, area in zip(CURVE_CLASSES, areas)),
        f"average, AUC {np.mean(areas):.3f}",
    ]


def test_the_average_curve_has_the_macro_area(predictions):
    targets, probabilities = predictions
    average = draw_roc(targets, probabilities, CURVE_CLASSES, "test").axes[0].lines[-1]
    expected = roc_auc_score(targets, probabilities, multi_class="ovr")
    assert auc(average.get_xdata(), average.get_ydata()) == pytest.approx(expected, abs=1e-12)
    assert (average.get_xdata()[0], average.get_ydata()[0]) == (0, 0)
    assert (average.get_xdata()[-1], average.get_ydata()[-1]) == (1, 1)


def test_the_title_names_the_mean_average_precision(predictions):
    targets, probabilities = predictions
    panel = draw_precision_recall(targets, probabilities, CURVE_CLASSES, "test").axes[0]
    mean = np.mean([average_precision_score(targets == index, probabilities[:, index]) for index in range(3)])
    assert panel.get_title(loc="left") == f"Precision and recall, test: mean AP {mean:.3f}"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", [draw_roc, draw_precision_recall])
def test_absent_classes_stay_in_the_legend_and_keep_the_colours_of_the_others(draw, predictions):
    targets, probabilities = predictions
    kept = targets != 1
    full = draw(targets, probabilities, CURVE_CLASSES, "test").axes[0]
    partial = draw(targets[kept], probabilities[kept], CURVE_CLASSES, "test").axes[0]
    colours = {line.get_label().split(",")[0]: line.get_color() for line in full.lines}
    assert {line.get_label().split(",")[0]: line.get_color() for line in partial.lines} == colours
    assert "sad, no curve" in [line.get_label() for line in partial.lines]


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


@pytest.fixture
def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [1.0, 2.0, 3.0],
            "train/loss": [2.0, 1.5, 1.2],
            "val/loss": [1.9, np.nan, 1.3],
            "train/accuracy": [0.3, 0.5, 0.6],
            "val/accuracy": [0.35, np.nan, 0.55],
        }
    )


def lines_of(panel) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(line.get_xdata(), line.get_ydata())) for line in panel.lines}


def test_draws_what_was_measured_and_marks_the_best_epoch(history):
    loss, accuracy = draw_curves(history, best_epoch=3).axes
    assert lines_of(loss)["training"] == [(1, 2.0), (2, 1.5), (3, 1.2)]
    assert lines_of(loss)["validation"] == [(1, 1.9), (3, 1.3)]
    assert lines_of(loss)["best epoch 3: 1.300"] == [(3, 1.3)]
    assert lines_of(accuracy)["best epoch 3: 55.0%"] == [(3, 0.55)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("best_epoch", [None, 2, 1])
def test_draws_whatever_is_there(history, best_epoch):
    for part in (history, history.iloc[:1], history[["epoch", "train/loss"]], history[["epoch"]]):
        draw_curves(part, best_epoch).savefig("/dev/null", format="png")
