import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.models.psysfa_net import PsySFANet

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "image_size": 48,
    "num_filters": 8,
    "fractal": True,
    "spectral": True,
    "attention": True,
    "texture": "diagonal",
    "band": "mid",
    "band_edges": (0.1, 0.5),
    "attention_kernel": 7,
    "stride": 2,
    "fusion": "attention",
    "fusion_grid": 3,
    "fusion_dim": 32,
    "fusion_heads": 2,
    "widths": (16, 32, 32),
    "depths": (1, 1, 1),
    "normalization": "batch",
    "suppression": True,
    "head_grid": 3,
    "embed_dim": 64,
    "dropout": 0.0,
}
BACKBONE = {"fractal": False, "spectral": False, "attention": False, "suppression": False}


def make(**changes):
    torch.manual_seed(0)
    return PsySFANet(**{**SMALL, **changes})


@pytest.mark.parametrize("changes", [{}, BACKBONE, {"fusion": "concat"}, {"stride": 1}, {"normalization": "none"}])
def test_features_are_the_embedding_that_the_logits_come_from(changes):
    net = make(**changes).eval()
    image = torch.randn(2, 1, 48, 48)
    embedding = net.forward_features(image)

    assert embedding.shape == (2, 64)
    assert torch.equal(net(image), net.classify(embedding))


def signature(net):
    """Names and shapes of the parameters."""
    return {name: tuple(parameter.shape) for name, parameter in net.named_parameters()}


@pytest.mark.parametrize(
    "changes",
    [
        {"fractal": False},
        {"spectral": False},
        {"attention": False},
        {"fusion": "concat"},
        {"suppression": False},
        {"normalization": "none"},
        {"attention_kernel": 3},
        {"num_filters": 12},
        {"fusion_grid": 4},
        {"texture": "lbp"},
        {"texture": "gabor"},
        {"texture": "gabor_cnn"},
        BACKBONE,
    ],
)
def test_switch_changes_what_is_learned(changes):
    assert signature(make(**changes)) != signature(make())


@pytest.mark.parametrize(
    "changes", [{"texture": "lbp_cnn"}, *({"band": band} for band in ("low", "high", "low_mid", "all"))]
)
def test_switch_changes_what_is_computed_from_the_same_weights(changes):
    net, other = make().eval(), make(**changes).eval()
    other.load_state_dict(net.state_dict())
    image = torch.randn(2, 1, 48, 48)

    assert not torch.allclose(net(image), other(image), atol=1e-4)


def test_switched_off_blocks_leave_nothing_behind():
    names = list(signature(make(**BACKBONE)))

    assert {name.split(".")[0] for name in names} == {"cnn", "embed", "classify"}
    assert make(**BACKBONE).cnn.layers[0].conv.in_channels == 1


def test_every_variant_gives_the_cnn_block_the_same_resolution():
    image = torch.randn(1, 1, 48, 48)

    assert make().cnn(make().fused(image)).shape == make(**BACKBONE).cnn(image).shape == (1, 32, 3, 3)


def test_concatenation_is_the_fusion_without_what_attention_adds():
    net, concat = make().eval(), make(fusion="concat").eval()
    for restore in net.fusion.from_common:
        torch.nn.init.zeros_(restore.weight)
        torch.nn.init.zeros_(restore.bias)
    concat.load_state_dict({key: value for key, value in net.state_dict().items() if not key.startswith("fusion.")})
    image = torch.randn(2, 1, 48, 48)

    torch.testing.assert_close(net(image), concat(image))


def test_fusion_attention_covers_the_tokens_of_all_blocks():
    weights = make().fusion_attention(torch.randn(2, 1, 48, 48))

    assert weights.shape == (2, 2, 27, 27)
    with pytest.raises(UserError, match=r"model\.fusion=attention"):
        make(fusion="concat").fusion_attention(torch.randn(2, 1, 48, 48))


@pytest.mark.parametrize("suppression", [True, False])
def test_gradcam_layer_yields_the_map_that_the_head_sees(suppression):
    net = make(suppression=suppression)
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(torch.randn(2, 1, 48, 48))

    assert seen[0].shape == (2, 32, 3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "sum"}, "model.fusion must be attention or concat; got 'sum'"),
        ({"image_size": 8}, "data.image_size must be at least 16 .*got 8"),
        ({"widths": (16, 32), "depths": (1,)}, "model.widths.*model.depths"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_exported_graph_takes_any_batch_and_agrees():
    net = make().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(net, (torch.randn(2, 1, 48, 48),), dynamic_shapes=({0: batch},)).module()
    image = torch.randn(5, 1, 48, 48)

    torch.testing.assert_close(exported(image), net(image))
