from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from fer_lightning.report.class_curves import draw_precision_recall, draw_roc

CLASSES = ["angry", "sad", "happy"]


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 300)
    scores = np.exp(random.normal(size=(300, 3)) + np.eye(3)[targets])
    return targets, scores / scores.sum(axis=1, keepdims=True)


def test_the_legend_names_sklearns_areas(predictions):
    targets, probabilities = predictions
    panel = draw_roc(targets, probabilities, CLASSES, "test").axes[0]
    areas = [roc_auc_score(targets == index, probabilities[:, index]) for index in range(3)]
    labels = [text.get_text() for text in panel.get_legend().get_texts()]
    assert labels[1:] == [
        *(f"{name}, AUC {area:.3f}" for name, area in zip(CLASSES, areas)),
        f"average, AUC {np.mean(areas):.3f}",
    ]


def test_the_average_curve_has_the_macro_area(predictions):
    targets, probabilities = predictions
    average = draw_roc(targets, probabilities, CLASSES, "test").axes[0].lines[-1]
    expected = roc_auc_score(targets, probabilities, multi_class="ovr")
    assert auc(average.get_xdata(), average.get_ydata()) == pytest.approx(expected, abs=1e-12)
    assert (average.get_xdata()[0], average.get_ydata()[0]) == (0, 0)
    assert (average.get_xdata()[-1], average.get_ydata()[-1]) == (1, 1)


def test_the_title_names_the_mean_average_precision(predictions):
    targets, probabilities = predictions
    panel = draw_precision_recall(targets, probabilities, CLASSES, "test").axes[0]
    mean = np.mean([average_precision_score(targets == index, probabilities[:, index]) for index in range(3)])
    assert panel.get_title(loc="left") == f"Precision and recall, test: mean AP {mean:.3f}"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", [draw_roc, draw_precision_recall])
def test_absent_classes_stay_in_the_legend_and_keep_the_colours_of_the_others(draw, predictions):
    targets, probabilities = predictions
    kept = targets != 1
    full = draw(targets, probabilities, CLASSES, "test").axes[0]
    partial = draw(targets[kept], probabilities[kept], CLASSES, "test").axes[0]
    colours = {line.get_label().split(",")[0]: line.get_color() for line in full.lines}
    assert {line.get_label().split(",")[0]: line.get_color() for line in partial.lines} == colours
    assert "sad, no curve" in [line.get_label() for line in partial.lines]
