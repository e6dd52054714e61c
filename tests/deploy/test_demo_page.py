from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_lightning.deploy.demo_memory import Seen
from fer_lightning.deploy.demo_page import DemoPage, ShownNet, enlarge
from fer_lightning.explain.figures import overlay
from fer_lightning.explain.gradcam import gradcam
from fer_lightning.inference.classifier import normalise
from fer_lightning.training.checkpoints import load_net


@pytest.mark.parametrize("channels", [1, 3])
def test_faces_are_enlarged_in_colour(channels):
    face = np.full((48, 48, channels), 30, np.uint8)
    face[24:] = 200
    large = enlarge(face)
    assert large.shape == (336, 336, 3) and large.dtype == np.uint8
    assert (large[:100] == 30).all() and (large[-100:] == 200).all()


@pytest.fixture(scope="module")
def shown() -> ShownNet:
    pytest.importorskip("mediapipe")
    return ShownNet("ferplus", max_faces=1)


def test_where_the_net_looks_is_its_grad_cam(shown):
    trained = load_net(Path("ferplus"))
    astronaut = pytest.importorskip("skimage.data").astronaut()
    (read,) = shown.read(astronaut)
    image = torch.from_numpy(normalise(read.face[None], trained.description["preprocessing"]))
    large = cv2.resize(np.repeat(read.face, 3, axis=2), (336, 336), interpolation=cv2.INTER_CUBIC)
    seen = []
    for label in ("happy", "sad"):
        heat = gradcam(trained.net, image, torch.tensor([trained.classes.index(label)]))[0]
        expected = overlay(large, cv2.resize(heat, (336, 336), interpolation=cv2.INTER_CUBIC).clip(0, 1))
        seen.append(shown.where_it_looks(read.face, label).astype(float))
        assert np.abs(seen[-1] - expected).mean() < 4
    assert np.abs(seen[0] - seen[1]).mean() > 8
    assert shown.record["splits"] == trained.record["splits"]


def test_valence_and_arousal_are_shown_where_the_net_predicts_them(shown, affect_net):
    astronaut = pytest.importorskip("skimage.data").astronaut()
    nets = {"ferplus": shown, str(affect_net): ShownNet(str(affect_net), max_faces=1)}
    page = DemoPage([*nets], nets.__getitem__, 10, 10**6, None)
    texts = []
    for source, net in nets.items():
        seen = Seen(source, astronaut, net.read(astronaut))
        texts.append(page._show_heat(seen, "happy")[page._evidence])
    valence, arousal = net.classifier.classify(seen.face.face[None])[0, -2:]
    added = f"<p>Valence {valence:+.2f}, arousal {arousal:+.2f}, each from -1 to 1.</p>"
    assert texts[1] == added + texts[0] and valence and arousal
