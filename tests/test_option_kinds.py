from __future__ import annotations

from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig, open_dict

from fer_lightning.cli import COMMANDS, conf_dir
from fer_lightning.errors import UserError
from fer_lightning.option_kinds import check_options


def compose(config: str, *overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose(config, list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.output_dir = "outputs/none"
    return cfg


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.config])
def test_the_defaults_of_every_command_fit(command):
    config = str(COMMANDS[command].config)
    check_options(compose(config), config)


CHOICES = [f"{path.parent.name}={path.stem}" for path in sorted(Path(conf_dir()).glob("[a-z]*/*.yaml"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice", [each for each in CHOICES if not each.startswith(("rival=", "hydra")) and "=base" not in each]
)
def test_every_choice_fits(choice, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    of_its_net = ["experiment=hafem_lite"] if choice.startswith("ablation=hafem") else []
    check_options(compose("train", *of_its_net, choice), "train")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed=null", "seed must be a whole number; got null."),
        ("seed=20261127123456", "seed must be from 0 to 4294967295; got 20261127123456."),
        ("data.batch_size=16.5", "data.batch_size must be a whole number; got 16.5."),
        ("optimizer.lr=abc", "optimizer.lr must be a number; got 'abc'."),
        ("optimizer.lr=nan", "optimizer.lr must be a number; got nan."),
        ("optimizer.lr=-1", "optimizer.lr must be at least 0; got -1."),
        ("data.val_fraction=10%", "data.val_fraction must be a number; got '10%'."),
        ("data.mean=0.5", "data.mean must be a list of numbers; got 0.5."),
        ("data.image_size=[48,48]", "data.image_size must be a whole number; got the list [48, 48]."),
        ("trainer.max_epochs=1.5", "trainer.max_epochs must be a whole number or null; got 1.5."),
        ("model.dropout=2", "model.dropout must be from 0 to 1; got 2."),
        ("channels_last=yes", "channels_last must be true or false; got 'yes'."),
        ("threads=abc", "threads must be a whole number or null; got 'abc'."),
        ("data.root=5", "data.root must be a path; got 5."),
        ("data.root=''", "data.root is empty: was the variable set?"),
        (
            "+optimizer.wieght_decay=1",
            "optimizer.wieght_decay is unknown to AdamW: did you mean optimizer.weight_decay?",
        ),
        ("+optimizer.betas=[0.9]", "optimizer.betas must be a list of"),
    ],
)
def test_the_sentence_names_the_option_and_what_it_takes(override, sentence):
    with pytest.raises(UserError) as refused:
        check_options(compose("train", override), "train")
    assert str(refused.value).startswith(sentence)
