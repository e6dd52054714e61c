from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.layers.transformer import GridPosition, MultiHeadAttention, TransformerBlock, sinusoidal_grid

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


def literal(layer, tokens):
    """Equation 6 for one sample (T, E), head by head and row by row."""
    count, dim = tokens.shape
    size = dim // layer.num_heads
    weight, bias = layer.query_key_value.weight, layer.query_key_value.bias
    query, key, value = (
        tokens @ weight[part * dim : (part + 1) * dim].T + bias[part * dim : (part + 1) * dim] for part in range(3)
    )
    heads, weights = [], []
    for head in range(layer.num_heads):
        part = slice(head * size, (head + 1) * size)
        scores = torch.stack(
            [torch.stack([query[i, part] @ key[j, part] / math.sqrt(size) for j in range(count)]) for i in range(count)]
        )
        exponents = scores.exp()
        weights.append(exponents / exponents.sum(1, keepdim=True))
        heads.append(weights[-1] @ value[:, part])
    return layer.output(torch.cat(heads, 1)), torch.stack(weights)


def test_it_is_equation_6():
    torch.manual_seed(0)
    layer = MultiHeadAttention(32, 2)
    tokens = torch.randn(3, 5, 32)
    output, weights = layer(tokens), layer.weights(tokens)

    for sample in range(3):
        expected_output, expected_weights = literal(layer, tokens[sample])
        torch.testing.assert_close(output[sample], expected_output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weights[sample], expected_weights, atol=1e-5, rtol=1e-5)


def test_gradients_of_attention_pass_under_bf16():
    layer = MultiHeadAttention(32, 2)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(2, 4, 32)).sum().backward()

    assert layer.query_key_value.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("embed_dim", "num_heads"), [(32, 4), (27, 1), (72, 3)])
def test_slow_head_sizes_are_refused(embed_dim, num_heads):
    with pytest.raises(UserError, match=f"must be a multiple of {16 * num_heads}; got {embed_dim}"):
        MultiHeadAttention(embed_dim, num_heads)


def test_sinusoids_are_those_of_the_paper_along_rows_and_columns():
    height, width, embed_dim = 3, 5, 16
    grid = sinusoidal_grid(height, width, embed_dim).view(height, width, embed_dim)
    half = embed_dim // 2
    for row in range(height):
        for column in range(width):
            for start, place in ((0, row), (half, column)):
                for index in range(half // 2):
                    angle = place / 10000 ** (2 * index / half)
                    assert grid[row, column, start + index].item() == pytest.approx(math.sin(angle), abs=1e-5)
                    assert grid[row, column, start + half // 2 + index].item() == pytest.approx(
                        math.cos(angle), abs=1e-5
                    )


def test_every_cell_of_a_grid_is_told_apart():
    for kind in ("learned", "sinusoidal"):
        places = GridPosition(kind, 32, 4, 6)(torch.zeros(1, 24, 32))[0]
        distance = torch.cdist(places, places) + 9 * torch.eye(24)
        assert distance.min() > 0.01


@pytest.mark.parametrize(("kind", "count"), [("none", 0), ("sinusoidal", 0), ("learned", 1)])
def test_only_learned_positions_are_trained_and_saved(kind, count):
    layer = GridPosition(kind, 32, 2, 2)

    assert len(list(layer.parameters())) == len(layer.state_dict()) == count


def test_none_adds_nothing():
    tokens = torch.randn(2, 6, 32)

    assert GridPosition("none", 32, 2, 3)(tokens) is tokens


def test_unknown_kind_is_refused():
    with pytest.raises(UserError, match=r"model\.position must be one of .*; got 'rotary'"):
        GridPosition("rotary", 32, 2, 2)
