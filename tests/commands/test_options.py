from __future__ import annotations

from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from fer_lightning.cli import COMMANDS, conf_dir
from fer_lightning.errors import UserError
from fer_lightning.commands.options import check_names, check_options, check_target


def compose(config: str, *overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose(config, list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        del cfg["hydra"]
        if "output_dir" in cfg:
            cfg.output_dir = "outputs/none"
    return cfg


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.config])
def test_the_defaults_of_every_command_fit(command):
    config = str(COMMANDS[command].config)
    check_options(compose(config), config)


CHOICES = [f"{path.parent.name}={path.stem}" for path in sorted(Path(conf_dir()).glob("[a-z]*/*.yaml"))]


@pytest.mark.slow
@pytest.mark.parametrize("choice", [each for each in CHOICES if not each.startswith(("baseline=", "hydra"))])
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
        ("optimizer.lr=[0.5]", "optimizer.lr must be a number; got the list [0.5]."),
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


@pytest.mark.parametrize(
    ("config", "options", "sentence"),
    [
        ("train", ["+newgroup.x=1"], "Unknown option 'newgroup': nothing reads it"),
        ("train", ["+optimiser.lr=1"], "Unknown option 'optimiser': did you mean optimizer?"),
        ("train", ["+experimnt=psysfa"], "Unknown option 'experimnt': did you mean experiment?"),
        ("train", ["+data@elswhere.ferplus=ferplus"], "Unknown option 'elswhere': did you mean elsewhere?"),
        ("train", ["+selection.mod=max"], "Unknown option 'selection.mod': did you mean selection.mode?"),
        ("train", ["augment=hafem", "+augment.p_blurr=1"], "Unknown option 'augment.p_blurr': did you mean augment.p_"),
        ("train", ["+callbacks.ema.decay=0.9"], "Unknown option 'callbacks.ema': nothing reads it"),
        ("train", ["scheduler=constant", "+scheduler.warmup=1"], "Unknown option 'scheduler.warmup': "),
        ("evaluate", ["+dat.batch_size=8"], "Unknown option 'dat': did you mean data?"),
        ("bench", ["+latency.round=3"], "Unknown option 'latency.round': did you mean latency.rounds?"),
        ("benchmark", ["+data.image_sise=64"], "Unknown option 'data.image_sise': did you mean data.image_size?"),
        ("predict", ["+sorce=photo.jpg"], "Unknown option 'sorce': did you mean source?"),
    ],
)
def test_what_nothing_reads_is_refused(config, options, sentence):
    with pytest.raises(UserError) as refused:
        check_names(compose(config, *options), config)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("train", ["+width=8", "model=resnet", "model.widths=[${width},8,8,8]"]),
        ("train", ["+mine.deep.width=8", "model=resnet", "model.widths=[8,8,8,'${mine.deep.width}']"]),
        ("train", ["+callbacks.mine._target_=package.Mine"]),
        ("train", ["+data@elsewhere.again=ferplus", "+trainer.max_steps=4"]),
        ("train", ["study=psysfa_table6"]),
        ("evaluate", ["+data.batch_size=8"]),
        ("bench", ["+latency.nets.small=['model.width=8']"]),
    ],
)
def test_names_that_are_free_or_referred_to_are_not(config, options):
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        check_names(hydra.compose(config, options, return_hydra_config=True), config)


SEARCH = ["hydra/sweeper=optuna", "hydra.sweep.dir=none"]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("n_trials=abc", "n_trials must be a whole number; got 'abc'."),
        ("n_trials=-1", "n_trials must be at least 1; got -1."),
        ("n_trials=2.5", "n_trials must be a whole number; got 2.5."),
        ("n_trials=true", "n_trials must be a whole number; got true."),
        ("n_trials=null", "n_trials must be a whole number; got null."),
        ("population=1", "population must be at least 2; got 1."),
        ("population=many", "population must be a whole number or one of 'auto'; got 'many'."),
        ("seed=-1", "seed must be from 0 to 4294967295; got -1."),
        ("direction=up", "direction must be one of 'min', 'max'; got 'up'."),
        ("direction=null", "direction must be one of 'min', 'max'; got null."),
        ("lease=long", "lease must be a number; got 'long'."),
        ("lease=0", "lease must be at least 1; got 0."),
        ("lease=nan", "lease must be a number; got nan."),
        ("max_failures=0", "max_failures must be at least 1; got 0."),
        ("storage=5", "storage must be a path; got 5."),
        ("study_name=[a]", "study_name must be text or null; got the list ['a']."),
        ("params=5", "params must be a group of options or null; got 5."),
        ("sampler.num_prey=few", "sampler.num_prey must be a whole number; got 'few'."),
        ("sampler=null", "sampler must be a group of options; got null."),
        ("+n_jobs=2", "n_jobs is unknown to SearchSweeper."),
        ("+sampler.num_pray=2", "sampler.num_pray is unknown to MBOASampler: did you mean hydra.sweeper.sampler."),
    ],
)
def test_the_options_of_a_search_have_kinds_too(option, sentence):
    plus = "+" * option.startswith("+")
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        override = f"{plus}hydra.sweeper.{option.removeprefix('+')}"
        cfg = hydra.compose("train", [*SEARCH, override], return_hydra_config=True)
        cfg = OmegaConf.masked_copy(cfg, ["hydra", "selection", "trainer"])
        options = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True)
    with pytest.raises(UserError) as refused:
        check_target(options, "hydra.sweeper")
    assert str(refused.value).startswith(f"hydra.sweeper.{sentence}")
