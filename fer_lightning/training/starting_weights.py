"""Training that goes on from the weights of another run."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.training.checkpoints import load_net

log = logging.getLogger(__name__)


def start_from(net: nn.Module, path: Path, num_classes: int) -> list[str]:
    """Gives a network the weights of a trained one, of the same architecture and perhaps for other classes.

    Args:
        net: Changed in place.
        path: What `load_net` takes.
        num_classes: K of `net`. Tensors that differ in nothing but the number of classes, which is their first
            dimension, keep the values they were drawn with.

    Returns:
        Names of the tensors that were kept: none where both know equally many classes.

    Raises:
        UserError: There is no such checkpoint, or the architectures differ.
    """
    trained = load_net(path)
    given, own = trained.net.state_dict(), net.state_dict()
    other = {name for name in own if name in given and given[name].shape != own[name].shape}
    head = [
        name
        for name in own
        if name in other
        and len(given[name]) == len(trained.classes)
        and own[name].shape == (num_classes, *given[name].shape[1:])
    ]
    strange = sorted((own.keys() ^ given.keys()) | (other - set(head)))
    if strange:
        raise UserError(
            f"init={path} is another architecture ({len(strange)} tensors do not fit, such as {strange[0]}): use the "
            "model options of that run."
        )
    net.load_state_dict({name: own[name] if name in head else value for name, value in given.items()})
    log.info("Going on from %s; %s", path, f"drawn anew: {', '.join(head)}" if head else "its head fits too")
    return head
