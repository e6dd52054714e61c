"""Networks beside the one of the running command, for commands that compare several."""

from __future__ import annotations

from collections.abc import Sequence

import hydra
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from fer_lightning.commands.instantiate import build_net
from fer_lightning.data.auxiliary import SIDE_SIZES


def compose_net(config: str, overrides: Sequence[str], num_classes: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Composes a config once more, with other choices, and builds its network.

    Works while a command runs: Hydra is then initialised with the same `conf/`.

    Args:
        config: Name of the command's config.
        overrides: As on the command line.
        num_classes: Number K of classes.

    Returns:
        The network and the arguments of its `forward` for one picture; side vectors are 0, those of no face.

    Raises:
        UserError: The network refuses its options.
    """
    cfg = hydra.compose(config, list(overrides))
    layout = torch.channels_last if cfg.channels_last else torch.contiguous_format
    net = build_net(cfg, num_classes).to(memory_format=layout)
    return net, _one_picture(cfg.data, layout)


def _one_picture(data: DictConfig, layout: torch.memory_format) -> tuple[Tensor, ...]:
    image = torch.randn(1, data.channels, data.image_size, data.image_size).contiguous(memory_format=layout)
    return (image,) if data.side == "none" else (image, torch.zeros(1, SIDE_SIZES[data.side]))
