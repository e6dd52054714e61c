"""Regions that are excluded from mixed precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Context manager that disables autocast on a device.

    Outside autocast it does nothing, so that it leaves no trace in an exported graph.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
