import pytest
import torch
import torch.nn.functional as F

from fer_lightning.errors import UserError
from fer_lightning.models.multimodal_fusion import MultimodalFusion

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "side": "landmarks",
    "side_dim": 137,
    "widths": (16, 16, 32, 32),
    "depths": (1, 1, 1, 1),
    "stem_stride": 2,
    "side_width": 16,
    "embed_dim": 24,
    "dropout": 0.0,
}


def make(**changes):
    torch.manual_seed(0)
    return MultimodalFusion(**{**SMALL, **changes})


def sides(count, size=137):
    side = torch.randn(count, size)
    side[:, 0] = 1
    return side


def test_both_inputs_are_heard():
    net = make().eval()
    image, side = torch.randn(2, 1, 48, 48), sides(2)
    assert not torch.allclose(net(image, side), net(image.flip(-1), side))
    assert not torch.allclose(net(image, side), net(image, sides(2)))


def test_what_was_not_found_is_not_heard():
    net = make().eval()
    image = torch.randn(2, 1, 48, 48)
    garbage = sides(2)
    garbage[:, 0] = 0
    assert torch.equal(net(image, garbage), net(image, torch.zeros(2, 137)))


def test_gradcam_sees_the_last_map():
    net = make().eval()
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48), sides(2))
    assert seen[0].shape == (2, 32, 3, 3)


def test_a_side_vector_of_another_size_is_a_sentence():
    with pytest.raises(UserError, match=r"use model\.side_dim=53"):
        make()(torch.randn(2, 1, 48, 48), sides(2, 53))


def test_it_learns_from_the_side_vector_where_images_say_nothing():
    net = make()
    image, side, target = torch.zeros(14, 1, 16, 16), sides(14), torch.arange(14) % 7
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(image, side), target).backward()
        optimizer.step()

    assert (net(image, side).argmax(1) == target).all()
