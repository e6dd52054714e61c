import pytest
import timm
import torch
import torch.nn.functional as F

from fer_lightning.errors import UserError
from fer_lightning.models.timm_net import TimmNet


def make(name, **changes):
    torch.manual_seed(0)
    options = {"num_classes": 7, "in_channels": 1, "image_size": 48, "stem_stride": None, "pretrained": "none"}
    return TimmNet(name=name, dropout=0.0, **{**options, **changes})


def seen_by_gradcam(net, image):
    seen = []
    handle = net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(image)
    handle.remove()
    return seen[0]


# name, stem stride, embedding, channels and side of the last map
BASELINES = [
    ("vgg11_bn", None, 512, (512, 1)),
    ("mobilenetv3_small_100", 1, 1024, (576, 3)),
    ("efficientnet_b0", 1, 1280, (1280, 3)),
    ("swin_tiny_patch4_window7_224", 2, 768, (768, 3)),
    ("convnext_atto", 2, 320, (320, 3)),
]


@pytest.mark.parametrize(("name", "stem_stride", "embed_dim", "last"), BASELINES)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_the_baselines_run_on_small_faces(name, stem_stride, embed_dim, last, in_channels):
    net = make(name, stem_stride=stem_stride, in_channels=in_channels).eval()
    image = torch.randn(2, in_channels, 48, 48)
    with torch.no_grad():
        features, shown = net.forward_features(image), seen_by_gradcam(net, image)

        assert net.embed_dim == embed_dim
        assert features.shape == (2, embed_dim)
        assert torch.equal(net(image), net.forward_head(features))
    assert shown.shape == (2, last[0], last[1], last[1])
    assert net.gradcam_tokens is None


@pytest.mark.parametrize(("name", "stem_stride"), [("mobilenetv3_small_100", 1), ("convnext_atto", 2), ("test_vit", 8)])
def test_every_parameter_gets_a_gradient_under_bf16(name, stem_stride):
    net = make(name, stem_stride=stem_stride).to(memory_format=torch.channels_last)
    image = torch.randn(4, 1, 48, 48).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(net(image), torch.arange(4))
    loss.backward()

    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "mobilenetv3_small_050"])
@torch.no_grad()
def test_it_is_timms_own_network(name):
    net = make(name, image_size=160, in_channels=3).eval()
    reference = timm.create_model(name, num_classes=0).eval()
    reference.load_state_dict(net.network.state_dict())
    image = torch.randn(1, 3, 160, 160)

    torch.testing.assert_close(net.forward_features(image), reference(image))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "swin_tiny_patch4_window7_224"])
def test_what_gradcam_sees_decides_the_logits(name):
    net = make(name, stem_stride=8).eval()
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    seen = []
    logits = net(torch.randn(2, 1, 48, 48))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), seen[0])
    if net.gradcam_tokens:
        prefix, height, width = net.gradcam_tokens
        assert seen[0].shape[1] == prefix + height * width
        gradient = gradient[:, prefix:]

    assert gradient.abs().sum() > 0


def test_without_a_map_or_tokens_it_is_refused():
    with pytest.raises(UserError, match=r"model\.name must be .*; got coat_tiny|coat_tiny does not"):
        make("coat_tiny", image_size=224, in_channels=3)
