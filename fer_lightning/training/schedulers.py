"""Learning-rate schedules as functions of the optimizer, the number of steps and the steps per epoch."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau, SequentialLR


def warmup_cosine(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, warmup_epochs: float = 1.0, final_share: float = 0.01
) -> SequentialLR:
    """Linear warm-up over `warmup_epochs`, then cosine annealing to `final_share` of the learning rate."""
    warmup = min(max(1, round(warmup_epochs * steps_per_epoch)), max(1, steps - 1))
    peak = optimizer.param_groups[0]["lr"]
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    fall = CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup), eta_min=final_share * peak)
    return SequentialLR(optimizer, [rise, fall], milestones=[warmup])


def one_cycle(optimizer: Optimizer, steps: int, steps_per_epoch: int, rise_share: float = 0.25) -> OneCycleLR:
    """One cycle (Smith 2018) whose peak is the optimizer's learning rate, reached after `rise_share` of the steps.

    Raises:
        ValueError: `rise_share` is out of range.
    """
    if not 0 <= rise_share < 1:
        raise ValueError(f"scheduler.rise_share must be at least 0 and below 1; got {rise_share}.")
    total = max(steps, 4)  # PyTorch divides by zero where the rise or the fall has no step
    peaks = [group["lr"] for group in optimizer.param_groups]
    # Momentum is constant: cycling it helps SGD but changes the meaning of Adam's betas.
    return OneCycleLR(
        optimizer, max_lr=peaks, total_steps=total, pct_start=max(rise_share, 2 / total), cycle_momentum=False
    )


def plateau(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, factor: float = 0.5, patience: int = 3
) -> ReduceLROnPlateau:
    """Multiplies the learning rate by `factor` when the validation loss has not fallen for `patience` epochs."""
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
