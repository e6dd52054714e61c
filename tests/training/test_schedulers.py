from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import Optimizer

from fer_lightning.training.schedulers import one_cycle, plateau, warmup_cosine

PEAK, STEPS, STEPS_PER_EPOCH = 0.1, 40, 10

SCHEDULES: dict[str, Callable[[Optimizer], torch.optim.lr_scheduler.LRScheduler]] = {
    "one_cycle": lambda optimizer: one_cycle(optimizer, STEPS, STEPS_PER_EPOCH, rise_share=0.25),
    "warmup_cosine": lambda optimizer: warmup_cosine(
        optimizer, STEPS, STEPS_PER_EPOCH, warmup_epochs=1.0, final_share=0.01
    ),
}


def make_optimizer() -> Optimizer:
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(2))]}, {"params": [torch.nn.Parameter(torch.zeros(1))]}]
    return torch.optim.SGD(parameters, lr=PEAK)


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, optimizer: Optimizer, steps: int) -> list[float]:
    """Learning rate that each step is taken with."""
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_warmup_cosine_follows_its_formula():
    optimizer = make_optimizer()
    values = rates(SCHEDULES["warmup_cosine"](optimizer), optimizer, STEPS)
    rise = [PEAK * (step + 1) / 11 for step in range(10)]
    last = 0.01 * PEAK
    fall = [last + (PEAK - last) * (1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert values == pytest.approx(rise + fall)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(last)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(last)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_warmup_longer_than_the_training_still_ends():
    optimizer = make_optimizer()
    scheduler = warmup_cosine(optimizer, 3, 10, warmup_epochs=5.0, final_share=0.0)
    assert rates(scheduler, optimizer, 3) == pytest.approx([PEAK / 3, 2 * PEAK / 3, PEAK])


def test_one_cycle_starts_low_peaks_and_ends_lower():
    optimizer = make_optimizer()
    values = rates(SCHEDULES["one_cycle"](optimizer), optimizer, STEPS)
    assert values[0] == pytest.approx(PEAK / 25)
    assert values[9] == pytest.approx(PEAK) and max(values) == pytest.approx(PEAK)
    assert values[-1] == pytest.approx(PEAK / 25 / 1e4)
    assert values[:10] == sorted(values[:10]) and values[9:] == sorted(values[9:], reverse=True)


def test_one_cycle_leaves_momentum_alone():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK, momentum=0.9)
    rates(SCHEDULES["one_cycle"](optimizer), optimizer, 5)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_plateau_halves_after_its_patience():
    optimizer = make_optimizer()
    scheduler = plateau(optimizer, STEPS, STEPS_PER_EPOCH, factor=0.5, patience=2)
    values = []
    for loss in (1.0, 0.9, 0.95, 0.95, 0.95, 0.8):
        scheduler.step(loss)
        values.append(optimizer.param_groups[0]["lr"])
    assert values == [PEAK, PEAK, PEAK, PEAK, PEAK / 2, PEAK / 2]


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stop", [4, 17])
def test_a_continued_schedule_goes_on_exactly(name, stop):
    optimizer = make_optimizer()
    whole = rates(SCHEDULES[name](optimizer), optimizer, STEPS)

    optimizer = make_optimizer()
    scheduler = SCHEDULES[name](optimizer)
    first = rates(scheduler, optimizer, stop)
    states = optimizer.state_dict(), scheduler.state_dict()
    optimizer = make_optimizer()
    scheduler = SCHEDULES[name](optimizer)
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    assert first + rates(scheduler, optimizer, STEPS - stop) == whole


@pytest.mark.parametrize("steps", range(1, 9))
@pytest.mark.parametrize("rise_share", [0.0, 0.25, 0.9])
def test_one_cycle_of_a_few_steps(steps, rise_share):
    optimizer = make_optimizer()
    values = rates(one_cycle(optimizer, steps, 2, rise_share), optimizer, steps)
    assert all(0 < value <= PEAK for value in values)


def test_one_cycle_refuses_a_rise_without_a_fall():
    with pytest.raises(ValueError, match=r"rise_share must be at least 0 and below 1; got 1\.0"):
        one_cycle(make_optimizer(), STEPS, STEPS_PER_EPOCH, rise_share=1.0)
