from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fer_lightning.plots.predictions import draw_predictions
from fer_lightning.plots.style import save_figures

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"]


@pytest.mark.filterwarnings("error")
def test_every_figure_reaches_the_disk_though_a_class_is_absent(tmp_path):
    random = np.random.default_rng(0)
    targets, probabilities = random.integers(0, 7, 60), random.dirichlet(np.ones(8), 60)
    paths = save_figures(tmp_path / "figures", draw_predictions(targets, probabilities, CLASSES, "test"))
    names = ["confusion_test.png", "roc_test.png", "precision_recall_test.png", "reliability_test.png"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(names)
    assert all(imread(path).std() > 0.01 for path in paths)


def test_settings_do_not_leak():
    before = dict(mpl.rcParams)
    draw_predictions(np.array([0, 1]), np.eye(8)[:2], CLASSES, "test")
    assert dict(mpl.rcParams) == before


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    save_figures(tmp_path, {"curves": Figure()})
    whole = (tmp_path / "curves.png").read_bytes()
    broken = Figure()
    broken.text(0, 0, "$\\frac{$")
    with pytest.raises(ValueError):
        save_figures(tmp_path, {"curves": broken})
    assert (tmp_path / "curves.png").read_bytes() == whole


def test_drawing_needs_no_torch():
    code = (
        "import sys, fer_lightning.plots.style, fer_lightning.plots.predictions, fer_lightning.plots.contact_sheet,"
        " fer_lightning.plots.result_table; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
