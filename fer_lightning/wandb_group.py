"""The W&B runs of one sweep form one group."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

# As conf/logger/wandb.yaml names it; the class itself needs torch, which a report does without.
_LOGGER = "fer_lightning.training.wandb_logger.WandbRunLogger"


def group_wandb_runs(cfg: DictConfig) -> DictConfig:
    """The config of a run; where it is one of a multirun, its W&B run is in the group of that one.

    A group that was named stays. The group becomes part of the config, so that a trial that is continued on its own
    stays in it too.

    Args:
        cfg: Composed for one run.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return cfg
    grouped = cfg.copy()
    for node in wandb_nodes(grouped):
        if node.group is None:
            node.group = sweep_group(Path(hydra.sweep.dir))
    return grouped


def wandb_nodes(cfg: DictConfig) -> list[DictConfig]:
    """The W&B loggers of a config."""
    nodes = (cfg.get("logger") or {}).values()
    return [node for node in nodes if node and node.get("_target_") == _LOGGER]


def sweep_group(folder: Path) -> str:
    """Name of the W&B group of a sweep.

    Args:
        folder: Where its runs lie.
    """
    return folder.resolve().name
