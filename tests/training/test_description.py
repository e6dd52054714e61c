from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fer_lightning.data.ferplus import FERPlus
from fer_lightning.data.folder import Folder
from fer_lightning.errors import UserError
from fer_lightning.losses.cross_entropy import CrossEntropy
from fer_lightning.models.resnet import ResNet
from fer_lightning.training.description import check_description, class_shares, describe


@pytest.fixture
def unequal(tmp_path):
    """A folder with 6, 3 and 1 training images."""
    random = np.random.default_rng(0)
    for split, counts in (("train", (6, 3, 1)), ("val", (1, 1, 1)), ("test", (1, 1, 1))):
        for name, count in zip(("happy", "sad", "surprise"), counts):
            for number in range(count):
                path = tmp_path / "data" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), random.integers(0, 256, (16, 16), np.uint8))
    return tmp_path / "data"


def set_up(make_data, *arguments, **options):
    data = make_data(*arguments, **options)
    data.setup()
    return data


def test_shares_are_those_of_the_training_images(unequal, make_data):
    data = set_up(make_data, Folder, unequal)
    assert class_shares(data, None) == pytest.approx({"happy": 0.6, "sad": 0.3, "surprise": 0.1})
    before = class_shares(data, None)
    data.add_teacher(np.full((10, 3), 1 / 3))
    assert class_shares(data, None) == pytest.approx(before)
    assert class_shares(data, CrossEntropy()) == class_shares(data, nn.CrossEntropyLoss()) == class_shares(data, None)


def test_shares_are_those_that_the_loss_weighs(unequal, make_data):
    data = set_up(make_data, Folder, unequal)
    inverse = CrossEntropy(class_counts=data.class_counts("train"), class_weights="inverse")
    assert class_shares(data, inverse) == pytest.approx(dict.fromkeys(("happy", "sad", "surprise"), 1 / 3))
    doubled = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 5.0]))
    assert class_shares(data, doubled) == pytest.approx({"happy": 6 / 14, "sad": 3 / 14, "surprise": 5 / 14})


def test_shares_are_those_that_the_sampler_draws(unequal, make_data):
    data = set_up(make_data, Folder, unequal, sampler="balanced")
    assert class_shares(data, None) == pytest.approx(dict.fromkeys(("happy", "sad", "surprise"), 1 / 3))


@pytest.mark.parametrize(
    ("sampler", "neutral", "sad", "surprise", "others"),
    [("shuffle", 2.1, 0.6, 0.3, 8), ("balanced", 1.25, 0.6, 0.15, 7)],
)
def test_shares_of_label_distributions_are_their_mean(
    trees, make_data, tmp_path, sampler, neutral, sad, surprise, others
):
    """Eight training images; six of ten annotators call one sad, the others neutral, and seven call another neutral."""
    shutil.copytree(trees / "ferplus", tmp_path / "votes")
    path = tmp_path / "votes" / "fer2013new.csv"
    header, *rows = path.read_text().splitlines()
    rows[3] = rows[3].replace("0,0,0,10,0,0,0,0,0,0", "4,0,0,6,0,0,0,0,0,0")
    rows[2] = rows[2].replace("0,0,10,0,0,0,0,0,0,0", "7,0,3,0,0,0,0,0,0,0")
    path.write_text("\n".join([header, *rows]) + "\n")
    data = set_up(make_data, FERPlus, tmp_path / "votes", labels="soft", sampler=sampler, on_bad_sample="skip")
    expected = dict.fromkeys(data.label_set.classes, 1 / others)
    expected |= {"neutral": neutral / others, "sad": sad / others, "surprise": surprise / others}
    assert class_shares(data, None) == pytest.approx(expected)


def test_a_class_without_training_images_leaves_no_shares(unequal, make_data):
    (unequal / "train" / "surprise" / "0.png").unlink()
    data = set_up(make_data, Folder, unequal, on_bad_sample="skip")
    assert class_shares(data, None) is None


@pytest.mark.parametrize("shares", [{"happy": 0}, {"happy": -0.1}, {"happy": 1.5}, {"happy": "x"}, [0.5], "equal"])
def test_damaged_shares_are_refused(unequal, make_data, shares):
    description = describe(ResNet(num_classes=3), set_up(make_data, Folder, unequal))
    assert check_description(description, "net.ckpt")["training_prior"]["happy"] == pytest.approx(0.6)
    with pytest.raises(UserError, match=r"net\.ckpt does not describe a net that can be used: training_prior"):
        check_description({**description, "training_prior": shares}, "net.ckpt")
