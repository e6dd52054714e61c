"""The promise of the embedded data set: too hard for a linear model, learnt by PsySFA-Net in minutes."""

from __future__ import annotations

from pathlib import Path

import hydra
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fer_lightning.commands.instantiate import build_datamodule
from fer_lightning.files import conf_dir
from fer_lightning.results.run_record import RunRecord

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("strength", [1e-3, 1e-4])  # the better one measured, and a stronger penalty
def test_a_linear_model_on_pixels_stays_below_70_percent(strength: float, tmp_path: Path) -> None:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", [f"data.cache_dir={tmp_path}", "logger=none", f"output_dir={tmp_path}"])
    datamodule = build_datamodule(cfg)
    pixels, labels = {}, {}
    for split in ("train", "test"):
        dataset = datamodule.dataset(split)
        pixels[split] = dataset.pixels(range(len(dataset))).reshape(len(dataset), -1).astype(np.float32)
        labels[split] = dataset.targets.numpy()
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
    linear.fit(pixels["train"], labels["train"])
    assert linear.score(pixels["test"], labels["test"]) < 0.7


def test_psysfa_net_passes_90_percent(fer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert fer("train", f"data.cache_dir={tmp_path}", "logger=none", "callbacks=[]", f"hydra.run.dir={folder}") == 0
    record = RunRecord.read(folder)
    assert record.metrics["splits"]["test"]["accuracy"] > 0.9
