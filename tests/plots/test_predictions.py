from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from fer_lightning.plots.predictions import draw_confusion

CLASSES = ["angry", "sad", "happy"]


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
