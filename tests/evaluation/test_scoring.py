from __future__ import annotations

import math

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
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 36, 3)).eval()


@pytest.mark.parametrize("channels_last", [True, False])
def test_probabilities(channels_last):
    net, image = make_net(), torch.randn(4, 1, 8, 8)
    expected = net(image).softmax(dim=1)
    target = torch.tensor([0, 1, 2, 0])
    probabilities, same = Inference(net, channels_last, flip=False).predict_step((image, target), 0)
    torch.testing.assert_close(probabilities, expected)
    assert same is target


def test_flip_averages_the_probabilities_of_both_images():
    net, image = make_net(), torch.randn(4, 1, 8, 8)
    mirrored = torch.from_numpy(image.numpy()[..., ::-1].copy())
    expected = (net(image).softmax(dim=1) + net(mirrored).softmax(dim=1)) / 2
    probabilities, _ = Inference(net, channels_last=False, flip=True).predict_step((image, torch.zeros(4)), 0)
    torch.testing.assert_close(probabilities, expected)
    turned, _ = Inference(net, channels_last=False, flip=True).predict_step((mirrored, torch.zeros(4)), 0)
    torch.testing.assert_close(turned, expected)


class WithSide(nn.Module):
    def forward(self, image, side):
        return image.mean(dim=(2, 3)) + side


def test_side_vectors_reach_the_net():
    image, side, target = torch.randn(4, 3, 8, 8), torch.randn(4, 3), torch.zeros(4)
    probabilities, same = Inference(WithSide(), True, flip=False).predict_step((image, side, target), 0)
    torch.testing.assert_close(probabilities, (image.mean(dim=(2, 3)) + side).softmax(dim=1))
    assert same is target


def test_mirrored_images_do_not_go_with_side_vectors_that_are_not():
    with pytest.raises(UserError, match="use flip=false"):
        Inference(WithSide(), True, flip=True).predict_step((torch.randn(4, 3, 8, 8), torch.zeros(4, 3), 0), 0)
