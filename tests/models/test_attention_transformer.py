import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.models.attention_transformer import AttentionTransformer

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "image_size": 48,
    "widths": (8, 16),
    "depths": (1, 1),
    "stride": 2,
    "normalization": "batch",
    "local_grid": 6,
    "global_grids": (1, 2),
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "block_dropout": 0.0,
    "dropout": 0.5,
}


def make(**changes):
    torch.manual_seed(0)
    return AttentionTransformer(**{**SMALL, **changes})


def test_tokens_are_the_class_then_regions_then_cells():
    net = make().eval()
    image = torch.randn(2, 1, 48, 48)
    tokens = net.tokens(image) - net.position
    features = net.stem(image)

    expected = [net.class_token.expand(2, -1), net.to_global(features.mean((2, 3)))]
    for rows in (slice(0, 3), slice(3, 6)):
        for columns in (slice(0, 3), slice(3, 6)):
            expected.append(net.to_global(features[:, :, rows, columns].mean((2, 3))))
    for row in range(6):
        for column in range(6):
            expected.append(net.to_local(features[:, :, row, column]))

    torch.testing.assert_close(tokens, torch.stack(expected, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("global_grids", "prefix"), [((), 1), ((1,), 2), ((1, 2), 6), ((3,), 10)])
def test_global_grids_are_in_front_of_the_local_one(global_grids, prefix):
    net = make(global_grids=global_grids)
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48))

    assert net.gradcam_tokens == (prefix, 6, 6)
    assert seen[0].shape == (2, prefix + 36, net.embed_dim)


def test_stages_must_match():
    with pytest.raises(UserError, match="same length"):
        make(depths=(1, 1, 1))


def test_an_image_too_small_is_refused():
    with pytest.raises(UserError, match="must be at least 8"):
        make(image_size=7)
