import pytest
import torch
from torch import nn

from fer_lightning.layers.transformer import TransformerBlock

COPIED = {
    "norm1.": "attention_norm.",
    "self_attn.in_proj_": "attention.query_key_value.",
    "self_attn.out_proj.": "attention.output.",
    "norm2.": "mlp_norm.",
    "linear1.": "mlp.0.",
    "linear2.": "mlp.2.",
}


@pytest.mark.parametrize(("num_heads", "mlp_ratio"), [(2, 2.0), (1, 1.5)])
def test_it_is_the_pre_norm_encoder_layer_of_torch(num_heads, mlp_ratio):
    torch.manual_seed(0)
    block = TransformerBlock(32, num_heads, mlp_ratio, dropout=0.0)
    reference = nn.TransformerEncoderLayer(
        32, num_heads, int(32 * mlp_ratio), dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = block.state_dict()
    theirs = {}
    for name in reference.state_dict():
        start = next(start for start in COPIED if name.startswith(start))
        theirs[name] = ours.pop(name.replace(start, COPIED[start]))
    assert not ours
    reference.load_state_dict(theirs)
    tokens = torch.randn(3, 7, 32)

    torch.testing.assert_close(block(tokens), reference(tokens), atol=1e-4, rtol=1e-4)


def test_dropout_leaves_the_residual_path_alone():
    block = TransformerBlock(32, 2, 2.0, dropout=1.0)
    tokens = torch.randn(2, 4, 32)

    assert torch.equal(block(tokens), tokens)
    assert not torch.equal(block.eval()(tokens), tokens)


def test_gradients_pass_under_bf16():
    block = TransformerBlock(32, 2, 2.0, dropout=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        block(torch.randn(2, 4, 32)).square().mean().backward()

    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())
