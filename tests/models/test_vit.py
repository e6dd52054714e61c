import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from fer_lightning.errors import UserError
from fer_lightning.models.vit import ViT

SMALL = {
    "num_classes": 7,
    "in_channels": 1,
    "image_size": 48,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "block_dropout": 0.0,
    "dropout": 0.5,
}


def make(**changes):
    torch.manual_seed(0)
    return ViT(**{**SMALL, **changes})


def timm_twin(net):
    """timm's Vision Transformer of the same sizes with the weights of `net`."""
    twin = VisionTransformer(
        img_size=48, patch_size=8, in_chans=1, num_classes=7, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0
    )
    renamed = {
        "patches.": "patch_embed.proj.",
        "attention_norm": "norm1",
        "attention.query_key_value": "attn.qkv",
        "attention.output": "attn.proj",
        "mlp_norm": "norm2",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
        "classify": "head",
        "class_token": "cls_token",
        "position": "pos_embed",
    }
    weights = {}
    for name, value in net.state_dict().items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        weights[name] = value
    weights["cls_token"], weights["pos_embed"] = weights["cls_token"][None, None], weights["pos_embed"][None]
    twin.load_state_dict(weights)
    return twin.eval()


def test_it_computes_what_timm_computes():
    net = make().eval()
    twin = timm_twin(net)
    for block in twin.blocks:
        block.norm1.eps = block.norm2.eps = net.norm.eps
    twin.norm.eps = net.norm.eps
    image = torch.randn(3, 1, 48, 48)

    torch.testing.assert_close(net(image), twin(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("image_size", "grid"), [(48, 6), (47, 6), (41, 6), (40, 5), (8, 1)])
def test_every_pixel_lies_in_a_patch(image_size, grid):
    net = make(image_size=image_size)
    image = torch.randn(1, 1, image_size, image_size, requires_grad=True)
    net.tokens(image).square().sum().backward()

    assert net.gradcam_tokens == (1, grid, grid)
    assert net.tokens(image).shape == (1, 1 + grid**2, 32)
    assert (image.grad != 0).all()


def test_tokens_are_class_then_patches_row_by_row():
    net = make()
    image = torch.zeros(1, 1, 48, 48)
    image[..., 8:16, 16:24] = 1.0
    changed = (net.tokens(image) - net.tokens(torch.zeros_like(image)))[0].abs().sum(1)

    assert changed.nonzero().flatten().tolist() == [1 + 1 * 6 + 2]


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(UserError, match="patch_size"):
        make(image_size=7)
