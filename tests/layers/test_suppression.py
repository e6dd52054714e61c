import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.layers.suppression import EmotionSuppression


def test_it_is_equations_8_to_12():
    torch.manual_seed(0)
    block = EmotionSuppression(64)
    features = torch.randn(2, 64, 3, 3)
    weight = torch.tensor([[features[b, c].mean() for c in range(64)] for b in range(2)])  # eq. 8
    weight = 1 / (1 + torch.exp(-(weight @ block.gate.weight.T + block.gate.bias)))  # eq. 9
    tokens = torch.stack([weight[:, :32], weight[:, 32:]], 1) + block.position
    alpha = torch.cat(list(block.attention(tokens).unbind(1)), 1)  # eq. 10
    alpha = 1 / (1 + torch.exp(-(alpha + block.bias)))
    expected = torch.stack([torch.stack([features[b, c] * (1 - alpha[b, c]) for c in range(64)]) for b in range(2)])

    torch.testing.assert_close(block.suppression(features), alpha, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(block(features), expected, atol=1e-5, rtol=1e-5)


def test_it_only_ever_turns_down():
    features = 100 * torch.randn(4, 32, 3, 3)
    block = EmotionSuppression(32)
    alpha = block.suppression(features)

    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert (block(features).abs() <= features.abs()).all()


def test_a_channel_depends_on_the_others():
    torch.manual_seed(0)
    block = EmotionSuppression(64)
    features = torch.randn(1, 64, 2, 2, requires_grad=True)
    block.suppression(features)[0, 0].backward()

    assert features.grad[0, 40].abs().sum() > 0


def test_channels_that_make_no_whole_tokens_are_refused():
    with pytest.raises(UserError, match=r"model\.widths must be a multiple of 32.*got 100: use 128"):
        EmotionSuppression(100)
