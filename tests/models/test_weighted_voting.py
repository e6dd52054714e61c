import numpy as np
import pytest
import torch
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.models.weighted_voting import WeightedVoting


def member(seed, scale=1.0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 3))
    with torch.no_grad():
        net[-1].weight.mul_(scale)
    return net


def softmax(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


@pytest.mark.parametrize("option", [{"tta": "mirror"}, {"mirror": True}], ids=["tta", "former name"])
def test_with_mirror_images_left_and_right_are_one(option):
    nets = [member(seed) for seed in range(2)]
    vote = WeightedVoting(num_classes=3, members=nets, **option)
    vote.weights.copy_(torch.tensor([0.3, 0.7]))
    image = torch.randn(5, 1, 8, 8)
    views = [image, torch.from_numpy(image.numpy()[..., ::-1].copy())]
    expected = sum(
        w * np.mean([softmax(net(view).detach().numpy()) for view in views], axis=0) for w, net in zip((0.3, 0.7), nets)
    )
    np.testing.assert_allclose(softmax(vote(image).detach().numpy()), expected, atol=1e-6)
    torch.testing.assert_close(vote(views[0]), vote(views[1]))


def test_its_softmax_is_the_weighted_mean_of_the_members():
    nets = [member(seed) for seed in range(3)]
    vote = WeightedVoting(num_classes=3, members=nets)
    vote.weights.copy_(torch.tensor([0.2, 0.0, 0.8]))
    image = torch.randn(5, 1, 8, 8)
    expected = sum(w * softmax(net(image).detach().numpy()) for w, net in zip((0.2, 0.0, 0.8), nets))
    np.testing.assert_allclose(softmax(vote(image).detach().numpy()), expected, atol=1e-6)
    np.testing.assert_allclose(vote(image).exp().sum(1).detach().numpy(), 1, atol=1e-6)


def test_weights_are_equal_at_first_and_travel_in_the_state():
    vote = WeightedVoting(num_classes=3, members=[member(0), member(1)])
    assert vote.state_dict()["weights"].tolist() == [0.5, 0.5]


def test_members_stay_frozen_and_in_evaluation_mode():
    vote = WeightedVoting(num_classes=3, members=[member(0), member(1)]).train()
    image = torch.randn(5, 1, 8, 8)
    before = {name: value.clone() for name, value in vote.state_dict().items()}
    assert vote.training
    assert torch.equal(vote(image), vote(image))  # no dropout
    assert all(torch.equal(value, before[name]) for name, value in vote.state_dict().items())
    assert not any(parameter.requires_grad for parameter in vote.parameters())


def test_members_that_are_sure_and_wrong_leave_finite_logits():
    vote = WeightedVoting(num_classes=3, members=[member(0, 1e4), member(1, 1e4)])
    logits = vote(torch.randn(64, 1, 8, 8))
    assert torch.isfinite(logits).all()


def test_nobody_votes():
    with pytest.raises(UserError, match=r"model\.checkpoints must name"):
        WeightedVoting(num_classes=3, members=[])
