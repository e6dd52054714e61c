from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from fer_lightning.deploy.benchmark.net_timing import PRECISIONS, WARM_UP, peak_memory, time_net


class Slow(nn.Module):
    """Waits longer without autocast, and remembers in what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.seen: list[torch.dtype] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert torch.is_inference_mode_enabled() and not self.training
        logits = self.layer(image)
        self.seen.append(logits.dtype)
        time.sleep(0.008 if logits.dtype == torch.float32 else 0.002)
        return logits


def test_every_round_times_each_precision_once():
    net = Slow()
    times = time_net(net.train(), [torch.zeros(1, 3)], torch.device("cpu"), range(9))
    assert times["precision"].tolist() == list(PRECISIONS) * 9
    assert net.seen[-18:] == [torch.float32, torch.float16] * 9 and len(net.seen) == 2 * (WARM_UP + 9)
    medians = times.groupby("precision")["milliseconds"].median()
    assert medians["float32"] >= 7.9 and 1.9 <= medians["float16"] < medians["float32"]


def test_peak_memory_is_that_of_a_gpu():
    assert peak_memory(torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_is_waited_for():
    device = torch.device("cuda")
    net = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(20)))
    times = time_net(net, [torch.zeros(1, 64, 256, 256)], device, range(10))
    image, started = torch.zeros(1, 64, 256, 256, device=device), time.perf_counter()
    with torch.inference_mode():
        net(image)
        torch.cuda.synchronize()
    whole = 1000 * (time.perf_counter() - started)
    assert times.loc[times["precision"] == "float32", "milliseconds"].median() == pytest.approx(whole, rel=0.5)
    assert peak_memory(device) > 64 * 256 * 256 * 4 / 1e6
