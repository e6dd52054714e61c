from __future__ import annotations

import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.models import HAFEM, PsySFANet, TimmNet, create_model, list_models


def test_names_and_wildcards():
    assert list_models("psysfa*") == ["psysfa_net"] and list_models("no*") == []
    assert {"psysfa_net", "hafem", "hafem_lite", "resnet", "timm"} < set(list_models())


def test_a_network_by_name():
    net = create_model("psysfa_net", num_classes=5, in_channels=3, stride=4)
    assert type(net) is PsySFANet and net.options["stride"] == 4
    assert net(torch.zeros(2, 3, 48, 48)).shape == (2, 5)
    assert type(create_model("timm", name="mobilenetv3_small_050")) is TimmNet
    lite = create_model("hafem_lite", pretrained=False, cbam=False)
    assert type(lite) is HAFEM
    assert (lite.options["pretrained"], lite.options["backbone"]) == ("none", "tf_efficientnet_lite0")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnt", {}, "Unknown model 'resnt': did you mean 'resnet'. choose one of attention_cnn, .*, vit"),
        ("zzz", {}, "Unknown model 'zzz': choose one of attention_cnn"),
        ("resnet", {"width": 3}, "resnet has no option 'width': choose one of num_classes, in_channels, widths"),
        ("resnet", {"pretrained": True}, "resnet has no pretrained weights; got pretrained='imagenet'"),
        ("hafem", {"pretrained": "nowhere.pth"}, r"nowhere\.pth"),
    ],
)
def test_what_cannot_be_built(name, options, message):
    with pytest.raises(UserError, match=message):
        create_model(name, **options)
