import pytest
import timm
import torch
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.models.backbone import build_network, feature_map


def build(name, stem_stride=None, image_size=48, in_channels=1):
    return build_network(
        name, in_channels=in_channels, image_size=image_size, stem_stride=stem_stride, pretrained="none"
    )


@pytest.mark.parametrize(
    ("name", "stem_stride", "side"),
    [
        ("test_efficientnet", None, 2),
        ("test_efficientnet", 1, 3),
        ("test_efficientnet", 4, 1),
        ("test_convnext", 1, 6),
        ("test_convnext", 2, 3),
        ("test_vit", 8, 6),
        ("test_resnet", 1, 3),
    ],
)
def test_the_stem_alone_decides_how_small_the_last_map_is(name, stem_stride, side):
    network = build(name, stem_stride)
    _, (channels, height, width) = feature_map(network, name, in_channels=1, image_size=48, stage=-1)

    assert (height, width) == (side, side)
    assert channels == timm.create_model(name).feature_info[-1]["num_chs"]


@pytest.mark.parametrize("stage", range(5))
def test_every_stage_is_the_one_timm_gives_and_nothing_behind_it_is_left(stage):
    torch.manual_seed(0)
    name = "tf_efficientnet_lite0"
    network = build(name, in_channels=3)
    reference = timm.create_model(name, features_only=True, out_indices=(stage,)).eval()
    reference.load_state_dict(network.state_dict(), strict=False)
    cut, shape = feature_map(network, name, in_channels=3, image_size=48, stage=stage)
    image = torch.randn(2, 3, 48, 48)
    (features,) = cut.eval()(image)
    (expected,) = reference(image)

    torch.testing.assert_close(features, expected)
    assert tuple(features.shape[1:]) == shape
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in cut.parameters())


def test_networks_stay_in_training_mode():
    network = build("test_efficientnet")
    feature_map(network, "test_efficientnet", in_channels=1, image_size=48, stage=-1)

    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_b55", "did you mean .*efficientnet_b5"),
        ("swin_tiny", "did you mean .*swin"),
        ("no such network at all", "timm.list_models"),
        ("test_efficientnet.moon", "it has r160_in1k"),
    ],
)
def test_a_misspelt_name(name, message):
    with pytest.raises(UserError, match=message):
        build(name)


@pytest.mark.parametrize(
    ("name", "stem_stride", "message"),
    [
        ("coat_tiny", 2, r"model\.stem_stride"),
        ("levit_128s", 1, "this stem"),
        ("vit_tiny_patch16_224", 100, "this stem|cannot be built"),
    ],
)
def test_a_stem_that_cannot_be_changed(name, stem_stride, message):
    with pytest.raises(UserError, match=message):
        network = build(name, stem_stride)
        feature_map(network, name, in_channels=1, image_size=48, stage=-1)


@pytest.mark.parametrize("stage", [5, -6])
def test_a_stage_that_is_not_there(stage):
    with pytest.raises(UserError, match=rf"model\.stage is {stage}, but test_efficientnet has 5 stages: 0 to 4"):
        feature_map(build("test_efficientnet"), "test_efficientnet", in_channels=1, image_size=48, stage=stage)


def test_a_network_without_maps():
    with pytest.raises(UserError, match="offers no feature maps"):
        feature_map(nn.Identity(), "odd_net", in_channels=1, image_size=48, stage=-1)
