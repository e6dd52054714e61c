"""Every option of every command with values of kinds that it does not take."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from fer_lightning.cli import COMMANDS
from fer_lightning.commands.option_checks import check_options
from fer_lightning.files import conf_dir

WRONG: dict[type, list[Any]] = {
    bool: ["yes", "on", 1, 0.5, [True], None],
    int: ["abc", "10%", "1k", 1.5, math.nan, [3], True, "", {"a": 1}],
    float: ["abc", "10%", "0.1x", math.nan, math.inf, [0.5], True, "", {"a": 1}],
    list: [{"a": 1}, 0.5, True],
}
# Options that take more than their default shows.
MORE = {"data.drop_leaked", "trainer.devices", "trainer.limit_train_batches", "trainer.limit_val_batches"}
MORE |= {
    "trainer.enable_model_summary",
    "trainer.deterministic",
    "logger.wandb.version",
    "trainer.precision",
    "trainer.gradient_clip_val",
}
# Values that an option takes although its default is of another kind.
ALSO = {
    "logger.wandb.init_timeout": 1.5,
    "optimizer.fused": None,
    "trainer.enable_checkpointing": None,
    "trainer.enable_progress_bar": None,
}


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif not str(key).startswith("_"):
            yield f"{prefix}{key}", value


@pytest.fixture(scope="module")
def configs() -> dict[str, DictConfig]:
    """The config of each command, resolved; that of fer train alone where few cases are tried."""
    found = {}
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for command in COMMANDS.values() if os.environ.get("FER_ATTACK") == "full" else [COMMANDS["train"]]:
            if command.config:
                cfg = hydra.compose(command.config, [], return_hydra_config=True)
                with open_dict(cfg):
                    del cfg["hydra"]
                    if "output_dir" in cfg:
                        cfg.output_dir = "outputs/none"
                found[command.config] = cfg
    return found


def test_options_of_a_wrong_kind_are_refused_by_name(campaign, configs):
    options = []
    for config, cfg in configs.items():
        plain = OmegaConf.to_container(cfg, resolve=True)
        for name, value in leaves(plain):
            # From other options.
            derived = (config == "show_models" and name.startswith("data.")) or name.startswith("data.transforms.")
            if name not in MORE and not derived and not name.startswith(("latency.nets", "search.most", "augment")):
                wrongs = (wrong for wrong in WRONG.get(type(value), []) if name not in ALSO or wrong != ALSO[name])
                options += [(config, name, wrong) for wrong in wrongs]
    for case, _ in campaign.cases(quick=12, full=len(options)):
        config, name, wrong = options[case * 7919 % len(options)]  # all of them in the end, and any to begin with
        cfg = configs[config].copy()
        OmegaConf.update(cfg, name, wrong, merge=False, force_add=True)
        campaign.judge(f"{config}: {name}={wrong!r}", partial(check_options, cfg, config), named=f"{name} must be")
