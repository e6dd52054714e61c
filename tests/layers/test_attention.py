import math

import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.layers.attention import MultiHeadAttention


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


def test_gradients_pass_under_bf16():
    layer = MultiHeadAttention(32, 2)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(2, 4, 32)).sum().backward()

    assert layer.query_key_value.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("embed_dim", "num_heads"), [(32, 4), (27, 1), (72, 3)])
def test_slow_head_sizes_are_refused(embed_dim, num_heads):
    with pytest.raises(UserError, match="multiple of 16"):
        MultiHeadAttention(embed_dim, num_heads)
