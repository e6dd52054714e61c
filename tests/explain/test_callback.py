from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.explain.callback import GradCAMPanels, first_of_each_class

PANELS = ["callbacks=[gradcam]", "callbacks.gradcam.every_n_epochs=2", "callbacks.gradcam.faces=5"]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / name, map_location="cpu", weights_only=True)["state_dict"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def with_panels(tiny, fer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("panels") / "run"
    assert fer("train", *tiny, *PANELS, f"hydra.run.dir={folder}") == 0
    return folder


def test_panels_leave_the_training_as_it_is(with_panels, trained_run):
    assert same(weights(with_panels, "last.ckpt"), weights(trained_run, "last.ckpt"))
    assert same(weights(with_panels, "best.ckpt"), weights(trained_run, "best.ckpt"))
    scores = [json.loads((run / "metrics.json").read_text())["splits"] for run in (with_panels, trained_run)]
    assert scores[0] == scores[1]


def test_a_panel_is_drawn_every_few_epochs(with_panels):
    found = sorted(path.name for path in (with_panels / "figures").glob("gradcam_epoch_*.png"))
    assert found == ["gradcam_epoch_002.png", "gradcam_epoch_004.png"]
    first, second = (cv2.imread(str(with_panels / "figures" / name)) for name in found)
    assert first.shape == second.shape and first.std() > 10
    assert not np.array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["[ema,gradcam]", "[gradcam,ema]"])
def test_panels_show_averaged_weights_and_leave_them_as_they_are(order, tiny, fer, tmp_path, monkeypatch):
    from fer_lightning.explain import callback

    averaged = []
    plain = callback.gradcam
    monkeypatch.setattr(
        callback,
        "gradcam",
        lambda net, *others: (
            averaged.append({k: v.clone() for k, v in net.state_dict().items()}) or plain(net, *others)
        ),
    )
    options = ["callbacks.ema.decay=0.9", "callbacks.gradcam.every_n_epochs=4"]
    assert fer("train", *tiny, f"callbacks={order}", *options, f"hydra.run.dir={tmp_path / 'a'}") == 0
    assert fer("train", *tiny, "callbacks=[ema]", options[0], f"hydra.run.dir={tmp_path / 'b'}") == 0

    last, without = (weights(tmp_path / name, "last.ckpt") for name in "ab")
    assert same(last, without)
    # Lightning saves the averaged weights as those of the module.
    assert all(torch.equal(value, last[f"net.{key}"]) for key, value in averaged[-1].items())


@pytest.mark.slow
def test_a_stopped_training_goes_on_exactly(tiny, fer, tmp_path, with_panels):
    folder = tmp_path / "run"
    shorter = ["trainer.max_epochs=2", "scheduler=constant"]
    whole = tmp_path / "whole"
    assert fer("train", *tiny, "scheduler=constant", f"hydra.run.dir={whole}") == 0
    assert fer("train", *tiny, *PANELS, *shorter, f"hydra.run.dir={folder}") == 0
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("max_epochs: 2", "max_epochs: 4"))
    (folder / "metrics.json").unlink()
    assert fer("train", f"resume={folder}") == 0
    assert same(weights(folder, "last.ckpt"), weights(whole, "last.ckpt"))
    assert (folder / "figures" / "gradcam_epoch_004.png").is_file()


@pytest.mark.slow
def test_panels_reach_wandb(tiny, fer, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = [option for option in tiny if not option.startswith("logger=")]
    assert fer("train", *options, "logger=wandb", *PANELS, f"hydra.run.dir={tmp_path}") == 0
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/explain/gradcam*.png"))) == 2


def test_faces_are_the_first_of_each_class_in_turn():
    labels = np.array([2, 2, 0, 1, 0, 2, 1])
    assert first_of_each_class(labels, 5) == [2, 3, 0, 4, 6]
    assert len(first_of_each_class(labels, 99)) == 7


@pytest.mark.parametrize("option", ["every_n_epochs", "faces"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(UserError, match=f"callbacks.gradcam.{option} must be at least 1; got 0"):
        GradCAMPanels(**{"folder": "x", "every_n_epochs": 1, "faces": 1, option: 0})
