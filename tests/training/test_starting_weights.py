from pathlib import Path

import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.models.resnet import ResNet
from fer_lightning.training.checkpoints import TrainedNet
from fer_lightning.training.starting_weights import start_from

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")


def resnet(num_classes: int, widths: list[int]) -> ResNet:
    return ResNet(num_classes=num_classes, in_channels=1, widths=widths, depths=[1, 1, 1, 1], stem_stride=2, dropout=0)


@pytest.fixture
def trained(monkeypatch) -> ResNet:
    net = resnet(8, [4, 4, 4, 7])
    found = TrainedNet(net, CLASSES, 1, {})
    monkeypatch.setattr("fer_lightning.training.starting_weights.load_net", lambda path: found)
    return net


def test_everything_goes_on_where_the_classes_are_as_many(trained):
    net = resnet(8, [4, 4, 4, 7])
    assert start_from(net, Path("run"), 8) == []
    image = torch.randn(2, 1, 48, 48)
    assert torch.equal(net.eval()(image), trained.eval()(image))


def test_a_head_of_other_classes_is_kept_and_all_else_goes_on(trained):
    net = resnet(7, [4, 4, 4, 7])  # as wide before the head as there are classes: shape alone would not tell them apart
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kept = start_from(net, Path("run"), 7)
    assert kept == ["classify.weight", "classify.bias"]
    for name, value in net.state_dict().items():
        expected = before[name] if name in kept else trained.state_dict()[name]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("widths", [[4, 4, 4, 9], [8, 4, 4, 7]])
def test_another_architecture_is_refused_and_nothing_is_changed(trained, widths):
    net = resnet(8, widths)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(UserError, match=r"init=run is another architecture \(\d+ tensors do not fit, such as "):
        start_from(net, Path("run"), 8)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_part_more_is_another_architecture(trained, monkeypatch):
    trained.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(UserError, match=r"1 tensors do not fit, such as scale"):
        start_from(resnet(8, [4, 4, 4, 7]), Path("run"), 8)
