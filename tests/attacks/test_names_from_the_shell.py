"""Names that a file system allows, as values of options that hold paths; and names of options with typing errors."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from fer_lightning.cli import COMMANDS
from fer_lightning.commands.instantiate import build
from fer_lightning.commands.stored_config import read_yaml
from fer_lightning.error_messages import explain
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.overrides import literal, prepare

PIECES = [*"aé日=',\"[]{}()$#~ \t\n\\:;%*?!|&<>@.+-_0157eExX", "${", "}", "\\\\", "true", "null", "\\'", '\\"', "\\${"]
PIECES += ["\udcff", "2024_01_05", "1e5", "0x10", "007", "inf", "nan", "choice(", "glob(*)", "${oc.env:HOME}", "last"]
OPTIONS = {
    "train": [
        "data.root",
        "data.cache_dir",
        "data.landmark_model",
        "init",
        "resume",
        "output_dir",
        "trainer.default_root_dir",
    ],
    "predict": ["source", "checkpoint", "output_dir"],
    "explain": ["image", "checkpoint", "data.root", "data.cache_dir"],
    "export": ["path", "checkpoint", "data.root", "data.cache_dir"],
    "benchmark": ["frames", "int8", "peer_python", "peer_node_modules"],
}


def odd_name(random: np.random.Generator) -> str:
    name = "".join(random.choice(PIECES, random.integers(1, 8)))
    return "a" if name in (".", "..") else name


def parse(arguments: Sequence[str]) -> object:
    """The value of the last argument, as the code gets it."""
    parsed = OverridesParser.create().parse_override(prepare(arguments)[-1])
    return OmegaConf.create({"value": parsed.value()}).value


def expected(name: str) -> str:
    return os.path.join(os.getcwd(), name) if name.startswith("~") else name  # noqa: PTH109, PTH118


def test_paths_reach_the_code_as_they_were_typed(campaign, tmp_path, monkeypatch):
    """Existing paths always; those that do not exist where Hydra has no meaning for them."""
    monkeypatch.chdir(tmp_path)
    options = [option for options in OPTIONS.values() for option in options]
    for case, random in campaign.cases(quick=120, full=2000):
        name, option = odd_name(random), options[case % len(options)]
        Path(name).mkdir()

        flags = ["-m"] if case % 3 == 0 else []
        received = partial(parse, [*flags, f"{option}={name}"])
        campaign.judge(name, received, accepts=partial(operator.eq, expected(name)))
        Path(name).rmdir()


def test_composed_configs_hold_the_names_that_were_typed(campaign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = sorted(OPTIONS)
    for case, random in campaign.cases(quick=2, full=250):
        command = commands[case % len(commands)]
        names = {option: odd_name(random) for option in OPTIONS[command]}
        for name in names.values():
            Path(name).mkdir(exist_ok=True)
        arguments = prepare([f"{option}={name}" for option, name in names.items()])
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose(COMMANDS[command].config, arguments)
        for option, name in names.items():
            received = partial(OmegaConf.select, cfg, option)
            campaign.judge(f"{option}={name}", received, accepts=partial(operator.eq, expected(name)))


def test_names_are_stored_and_built_as_they_are(campaign, tmp_path):
    """In config.yaml, read back from there, and as arguments of what Hydra instantiates."""
    path = tmp_path / "config.yaml"
    for case, random in campaign.cases(quick=15, full=1000):
        name = odd_name(random)
        cfg = OmegaConf.create(literal({"root": name, "names": [name]}))
        path.write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
        stored = read_yaml(path)
        campaign.held((case, name), stored == {"root": name, "names": [name]}, f"stored as {stored}")

        node = {"_target_": "builtins.dict", "inner": {"_target_": "builtins.dict", **stored}, **stored}
        built = partial(build, OmegaConf.create(literal(node)))
        campaign.judge(name, built, accepts=partial(operator.eq, {"inner": stored, **stored}))


def test_any_value_is_read_or_refused_in_a_sentence(campaign, tmp_path, monkeypatch):
    """Names that do not exist, and options that hold no path."""
    monkeypatch.chdir(tmp_path)
    options = [
        "data.root",
        "source",
        "path",
        "hydra.run.dir",
        "logger.wandb.name",
        "seed",
        "model.widths",
        "model.checkpoints",
    ]
    for case, random in campaign.cases(quick=60, full=1000):
        argument = f"{options[case % len(options)]}={odd_name(random)}"
        flags = ["-m"] if random.random() < 0.3 else []

        readable = partial(prepared_override, [*flags, argument])
        campaign.judge(argument, readable, named=argument.partition("=")[0], accepts=lambda _: True)


def prepared_override(arguments: Sequence[str]) -> object:
    return OverridesParser.create().parse_override(prepare(arguments)[-1])


def mistyped(word: str, random: np.random.Generator) -> str:
    """One letter missing, doubled, changed, or exchanged with the next one."""
    place = int(random.integers(0, len(word)))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    changes: list[Callable[[], str]] = [
        lambda: before + after,
        lambda: before + 2 * letter + after,
        lambda: before + str(random.choice(list("abcdefghijklmnopqrstuvwxyz"))) + after,
        lambda: before + after[:1] + letter + after[1:],
    ]
    return changes[random.integers(len(changes))]()


@pytest.fixture(scope="module")
def known() -> dict[str, list[str]]:
    """Options and choices of `fer train`, long enough to be recognised in spite of a typing error."""
    choices = [
        f"{path.parent.name}={path.stem}"
        for group in ("data", "model", "loss", "optimizer", "scheduler", "trainer", "augment", "procedure")
        for path in (conf_dir() / group).glob("*.yaml")
        if len(path.stem) > 4
    ]
    options = ["optimizer.weight_decay", "data.batch_size", "data.image_size", "trainer.max_epochs", "model.dropout"]
    options += ["data.cache_dir", "selection.monitor", "mixing.probability", "channels_last", "optimizer", "scheduler"]
    return {"choices": choices, "options": options}


def composed(argument: str) -> object:
    """The config of `fer train` with one argument.

    Raises:
        UserError: What the command line says where there is none.
    """
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("train", [argument])
    except HydraException as error:
        raise UserError(explain(error, "train", [argument])) from error


def test_typing_errors_are_recognised(campaign, known):
    for case, random in campaign.cases(quick=2, full=320):
        if case % 2:
            meant = str(random.choice(known["choices"]))
            group, _, choice = meant.partition("=")
            argument, named = f"{group}={mistyped(choice, random)}", choice
        else:
            meant = str(random.choice(known["options"]))
            group, dot, word = meant.rpartition(".")
            argument, named = f"{group}{dot}{mistyped(word, random)}=1", meant
        if argument.partition("=")[0] == meant or argument == meant:
            argument = f"{argument}x" if case % 2 else argument.replace("=", "x=")
        campaign.judge(argument, partial(composed, argument), named=f"did you mean {named}")
