"""Where mixed precision has to pause."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A region that computes in the dtype of its inputs, whether or not autocast is on.

    Args:
        device: Where the region computes.

    Returns:
        A context manager. Outside autocast it does nothing, so that an exported graph has no trace of it.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
