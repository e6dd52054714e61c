from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.evaluation.scoring import Inference, score


def test_score_by_hand():
    table = pd.DataFrame(
        {
            "target": [0, 0, 1, 1],
            "prob_happy": [0.9, 0.4, 0.2, 0.3],
            "prob_sad": [0.1, 0.6, 0.8, 0.7],
        }
    )
    scores = score(table, ["happy", "sad"])
    assert scores["n"] == 4
    assert scores["accuracy"] == pytest.approx(0.75)
    assert scores["balanced_accuracy"] == pytest.approx(0.75)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["auroc"] == pytest.approx(1.0)
    assert scores["loss"] == pytest.approx(-math.log(0.9 * 0.4 * 0.8 * 0.7) / 4)
    assert scores["per_class"]["sad"]["precision"] == pytest.approx(2 / 3)
    # Wilson: centre (p + z^2 / 2n) / (1 + z^2 / n), with z = 1.95996 and n = 4
    assert (scores["accuracy_low"], scores["accuracy_high"]) == pytest.approx((0.30064, 0.95441), abs=1e-4)


def test_a_probability_of_zero_costs_much_but_not_everything():
    table = pd.DataFrame({"target": [0, 1], "prob_happy": [0.0, 0.0], "prob_sad": [1.0, 1.0]})
    assert score(table, ["happy", "sad"])["loss"] == pytest.approx(-math.log(1e-12) / 2, rel=1e-4)


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(2 * 36, 3)).eval()


@pytest.mark.parametrize("channels_last", [True, False])
def test_probabilities(channels_last):
    net, image = make_net(), torch.randn(4, 1, 8, 8)
    expected = net(image).softmax(dim=1)
    target = torch.tensor([0, 1, 2, 0])
    probabilities, same = Inference(net, channels_last).predict_step((image, target), 0)
    torch.testing.assert_close(probabilities, expected)
    assert same is target


@pytest.mark.parametrize(("tta", "count"), [("mirror", 2), ("crops", 10)])
def test_tta_averages_the_probabilities_of_all_views(tta, count):
    net, image = make_net(), torch.randn(4, 1, 8, 8)
    image = image.repeat_interleave(4, 2).repeat_interleave(4, 3)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    places = [(2, 2)] + ([(top, left) for top in (0, 4) for left in (0, 4)] if tta == "crops" else [])
    expected = []
    for top, left in places:
        view = padded[..., top : top + 32, left : left + 32]
        expected += [net(torch.from_numpy(each.copy())).softmax(dim=1) for each in (view, view[..., ::-1])]
    inference = Inference(net, channels_last=False, tta=tta)
    probabilities, _ = inference.predict_step((image, torch.zeros(4)), 0)
    assert len(expected) == count
    torch.testing.assert_close(probabilities, torch.stack(expected).mean(dim=0))
    mirrored, _ = inference.predict_step((image.flip(-1), torch.zeros(4)), 0)
    torch.testing.assert_close(mirrored, probabilities)


def test_an_unknown_tta_is_refused():
    with pytest.raises(UserError, match="tta=five is unknown: use one of none, mirror, crops"):
        Inference(make_net(), tta="five")


class WithSide(nn.Module):
    def forward(self, image, side):
        return image.mean(dim=(2, 3)) + side


def test_side_vectors_reach_the_net():
    image, side, target = torch.randn(4, 3, 8, 8), torch.randn(4, 3), torch.zeros(4)
    probabilities, same = Inference(WithSide(), True).predict_step((image, side, target), 0)
    torch.testing.assert_close(probabilities, (image.mean(dim=(2, 3)) + side).softmax(dim=1))
    assert same is target


def test_mirrored_images_do_not_go_with_side_vectors_that_are_not():
    with pytest.raises(UserError, match="use tta=none"):
        Inference(WithSide(), True, tta="mirror").predict_step((torch.randn(4, 3, 8, 8), torch.zeros(4, 3), 0), 0)
