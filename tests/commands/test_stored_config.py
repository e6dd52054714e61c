from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

from fer_lightning.commands.stored_config import group_wandb_runs
from fer_lightning.files import conf_dir


@pytest.fixture(autouse=True)
def no_traces():
    state = Singleton.get_state()
    yield
    Singleton.set_state(state)


def in_mode(mode: str, folder: Path) -> None:
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": {"mode": mode, "sweep": {"dir": str(folder)}}})
    from hydra.types import RunMode

    HydraConfig.instance().cfg.hydra.mode = RunMode[mode]


def config(*loggers: str) -> DictConfig:
    chosen = [OmegaConf.load(conf_dir() / "logger" / f"{name}.yaml") for name in loggers]
    return OmegaConf.create({"logger": OmegaConf.merge(*chosen) if chosen else None, "output_dir": "run"})


def test_the_runs_of_a_multirun_are_in_the_group_of_its_folder(tmp_path):
    in_mode("MULTIRUN", tmp_path / "monday")
    cfg = config("csv", "wandb")
    grouped = group_wandb_runs(cfg)
    assert grouped.logger.wandb.group == "monday"
    assert cfg.logger.wandb.group is None  # nobody else's config changes
    grouped.logger.wandb.group = None
    assert grouped == cfg


def test_a_single_run_has_no_group(tmp_path):
    in_mode("RUN", tmp_path / "monday")
    assert group_wandb_runs(config("wandb")).logger.wandb.group is None


def test_a_named_group_stays(tmp_path):
    in_mode("MULTIRUN", tmp_path / "monday")
    cfg = config("wandb")
    cfg.logger.wandb.group = "mine"
    assert group_wandb_runs(cfg).logger.wandb.group == "mine"


@pytest.mark.parametrize("loggers", [(), ("csv",)])
def test_without_wandb_nothing_changes(tmp_path, loggers):
    in_mode("MULTIRUN", tmp_path / "monday")
    assert group_wandb_runs(config(*loggers)) == config(*loggers)
