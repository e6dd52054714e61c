from __future__ import annotations

from time import sleep, thread_time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer_lightning.evaluation.efficiency import latency, multiply_adds, parameters


class Attention(nn.Module):
    """Fused self-attention of two heads without weights, whose cost is known by hand."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        heads = tokens.unflatten(2, (2, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)


class Busy(nn.Module):
    """Works for some milliseconds, and waits before and after."""

    def __init__(self, milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.modes: list[tuple[bool, int, bool]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.modes.append((self.training, torch.get_num_threads(), torch.is_inference_mode_enabled()))
        sleep(0.02)
        end = thread_time() + self.milliseconds / 1000
        while thread_time() < end:
            pass
        return image


def test_parameters_are_weights_alone():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 5, bias=False))
    net[0].weight.requires_grad = False
    assert parameters(net) == (8 * 3 * 9 + 8) + 2 * 8 + 8 * 5


@pytest.mark.parametrize(
    ("net", "shape", "by_hand"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 10 * 12 * 8 * 3 * 9),
        (nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), (8, 10, 10), 5 * 5 * 8 * 9),
        (nn.Linear(7, 5), (7,), 7 * 5),
        (nn.Linear(7, 5), (4, 7), 4 * 7 * 5),
        (Attention(), (9, 32), 2 * (9 * 9 * 32)),  # tokens^2 x width, for the products and for the weighted sum
        # Queries, keys, values; attention; its output; the two maps of the perceptron.
        (
            nn.TransformerEncoderLayer(32, 2, dim_feedforward=64, batch_first=True),
            (9, 32),
            9 * 32 * 96 + 2 * 9 * 9 * 32 + 9 * 32 * 32 + 2 * 9 * 32 * 64,
        ),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2)), (3, 8, 8), 0),
    ],
    ids=["convolution", "depthwise", "linear", "linear on tokens", "attention", "encoder layer", "element-wise"],
)
def test_multiply_adds_agree_with_those_counted_by_hand(net, shape, by_hand):
    assert multiply_adds(net, (torch.randn(1, *shape),)) == by_hand
    with torch.inference_mode():
        assert multiply_adds(net, (torch.randn(1, *shape),)) == by_hand


def test_einsum_is_counted():
    class Product(nn.Module):
        def forward(self, left, right):
            return torch.einsum("bij,bjk->bik", left, right)

    assert multiply_adds(Product(), (torch.randn(1, 3, 4), torch.randn(1, 4, 5))) == 3 * 4 * 5


def test_latency_is_the_work_of_every_net_in_every_round():
    nets = {"slow": Busy(12), "fast": Busy(3)}
    times = latency(nets, {name: (torch.zeros(1, 1, 4, 4),) for name in nets}, range(4))
    assert list(times) == ["slow", "fast"] and len(times) == 4
    assert times["slow"].median() == pytest.approx(12, rel=0.2)
    assert times["fast"].median() == pytest.approx(3, rel=0.4)


def test_latency_is_that_of_inference_with_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    net = Busy(0).train()
    try:
        latency({"net": net}, {"net": (torch.zeros(1),)}, range(2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(net.modes) == {(False, 1, True)}
