import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer_lightning.layers.cbam import CBAM
from fer_lightning.layers.transformer import TransformerBlock
from fer_lightning.models.hafem import HAFEM

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "image_size": 48,
    "backbone": "test_efficientnet",
    "stem_stride": 1,
    "pretrained": "none",
    "stage": -1,
    "cbam": True,
    "cbam_reduction": 16,
    "cbam_kernel": 7,
    "transformer": True,
    "max_grid": 2,
    "embed_dim": 32,
    "num_layers": 1,
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "position": "learned",
    "transformer_dropout": 0.0,
    "dropout": 0.0,
}


def make(**changes):
    torch.manual_seed(0)
    return HAFEM(**{**SMALL, **changes})


@pytest.mark.parametrize(("stem_stride", "side"), [(1, 3), (2, 2), (8, 1)])
def test_the_projection_shows_the_grid_of_the_tokens(stem_stride, side):
    net = make(stem_stride=stem_stride, max_grid=7)
    seen = []
    net.projection.register_forward_hook(lambda module, inputs, output: seen.append(output))
    embedding = net.forward_features(torch.randn(2, 1, 48, 48))

    assert net.grid == (side, side)
    assert seen[0].shape == (2, 32, side, side)
    assert embedding.shape == (2, net.embed_dim)


@pytest.mark.parametrize(("backbone", "stage"), [("resnet10t", -1), ("resnet10t", 2), ("tf_efficientnet_lite0", 3)])
def test_grad_cam_weighs_the_map_before_the_last(backbone, stage):
    net = make(backbone=backbone, stage=stage).eval()
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = torch.randn(2, 1, 48, 48)
    net(image)
    (expected,) = net.backbone.model.forward_intermediates(image, indices=[stage % 5 - 1], intermediates_only=True)
    assert torch.equal(seen[0], expected)
    maps = [f"backbone {number}" for number in range(1, stage % 5 + 2)]
    assert list(net.feature_stages) == [*maps, "CBAM", "projection"]


def test_without_a_map_before_it_grad_cam_weighs_the_projection():
    net = make(stage=0)
    assert net.gradcam_layer is net.projection


def literal(net, image):
    """The chain of the docstring, part by part and cell by cell."""
    features = net.cbam(net.backbone(image)[0])
    height, width = features.shape[2:]
    rows, columns = net.grid
    tokens = []
    for row in range(rows):
        for column in range(columns):
            cell = features[
                :,
                :,
                row * height // rows : -(-(row + 1) * height // rows),
                column * width // columns : -(-(column + 1) * width // columns),
            ]
            tokens.append(cell.mean((2, 3)) @ net.projection.weight[:, :, 0, 0].T + net.projection.bias)
    position, *blocks, norm = net.transformer
    tokens = torch.stack(tokens, 1) + position.position
    for block in blocks:
        tokens = block(tokens)
    return net.classify(norm(tokens).mean(1))


@torch.no_grad()
def test_it_is_the_chain_of_its_docstring():
    net = make().eval()
    image = torch.randn(2, 1, 48, 48)

    assert net.backbone(image)[0].shape[2:] == (3, 3)  # averaged to 2 x 2
    torch.testing.assert_close(net(image), literal(net, image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cbam", [True, False])
@pytest.mark.parametrize("transformer", [True, False])
def test_each_part_is_there_only_when_it_is_on(cbam, transformer):
    net = make(cbam=cbam, transformer=transformer)
    kinds = {type(module) for module in net.modules()}

    assert (CBAM in kinds) == cbam
    assert (TransformerBlock in kinds) == (nn.LayerNorm in kinds) == transformer
    assert net(torch.randn(2, 1, 48, 48)).shape == (2, 7)
    assert net.embed_dim == 32


def test_without_its_parts_it_is_the_backbone_averaged_and_projected():
    net = make(cbam=False, transformer=False).eval()
    image = torch.randn(2, 1, 48, 48)
    (features,) = net.backbone(image)
    pooled = F.adaptive_avg_pool2d(features, 2).mean((2, 3))

    expected = net.classify(pooled @ net.projection.weight[:, :, 0, 0].T + net.projection.bias)
    torch.testing.assert_close(net(image), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["test_convnext", "test_vit"])
def test_other_backbones_fit(backbone):
    net = make(backbone=backbone, stem_stride=4)

    assert net(torch.randn(2, 1, 48, 48)).shape == (2, 7)
