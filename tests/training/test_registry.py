from __future__ import annotations

import re
import sys
from importlib import import_module

import pytest
import yaml
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.models.resnet import ResNet
from fer_lightning.training.registry import FORMER, KNOWN, check_arguments, known, look_up, trust, with_present_names


@pytest.fixture(autouse=True)
def _trust_nobody():
    yield
    trust(())


def _targets(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["_target_"]} if "_target_" in node else set()
        return own.union(*(_targets(value) for name, value in node.items() if name != "hydra"))
    if isinstance(node, str):  # an option as on the command line
        return set(re.findall(r"_target_:([\w.]+)", node))
    return set().union(*map(_targets, node)) if isinstance(node, list) else set()


def test_it_knows_what_the_configs_name():
    """A class that is added to one of the two is missing in the other; those of sweeps are never stored."""
    named = set()
    for path in conf_dir().rglob("*.yaml"):
        if path.relative_to(conf_dir()).parts[0] != "hydra":
            named |= _targets(yaml.safe_load(path.read_text()))
    assert named == {name for parts in KNOWN.values() for names in parts for name in names}


def test_all_of_it_exists():
    for part, (own, nested) in KNOWN.items():
        for name in own:
            assert look_up(name, part, object, "here") if name.rpartition(".")[2][0].isupper() else known(name, part)
        assert all(known(name, part, nested=True) for name in nested)


@pytest.mark.parametrize(
    "name",
    [
        "antigravity.X",
        "stray.Net",
        "fer_lightning.cli.main",
        "fer_lightning.models.resnet.nn.Module",
        "fer_lightning.models.resnet.ResNet.load_state_dict",
        "fer_lightning.data.folder.Folder",
        "torch.load",
        "",
        None,
        ["fer_lightning.models.resnet.ResNet"],
    ],
)
def test_nothing_is_imported_because_a_file_says_so(name, tmp_path, monkeypatch):
    (tmp_path / "stray.py").write_text("raise SystemExit(7)")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    with pytest.raises(UserError, match=r"net\.ckpt names .* as its model, which is not part of fer_lightning"):
        look_up(name, "model", nn.Module, "net.ckpt")
    assert not {"antigravity", "stray"} & (set(sys.modules) - before)


def test_a_package_that_the_user_trusts(tmp_path, monkeypatch):
    (tmp_path / "stray_nets.py").write_text("from torch import nn\nclass Net(nn.Module): pass\nclass Other: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"add plugins=\[stray_nets\]"):
        look_up("stray_nets.Net", "model", nn.Module, "net.ckpt")
    trust(["stray_nets"])
    assert look_up("stray_nets.Net", "model", nn.Module, "net.ckpt").__name__ == "Net"
    for name in ("stray_nets.Other", "stray_nets.Gone"):
        with pytest.raises(UserError, match="not an installed Module"):
            look_up(name, "model", nn.Module, "net.ckpt")
    assert not known("stray_nets_of_others.Net", "model")


@pytest.mark.parametrize("name", ["", "a b", "../x", "a..b", 3])
def test_plugins_are_names_of_packages(name):
    with pytest.raises(UserError, match="plugins must be names of Python packages"):
        trust([name])


def test_a_plugin_that_is_not_installed_says_what_to_do():
    with pytest.raises(UserError, match=r"plugins=\[nobody\.nets\] must name an installed .*PYTHONPATH=\$PWD"):
        trust(["nobody.nets"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"widths": "8888"}, "widths"),
        ({"widths": [8, 8.5, 8, 8]}, "widths: 1 must be a valid integer"),
        ({"in_channels": True}, "in_channels"),
        ({"dropout": None}, "dropout"),
        ({"gone": 1}, "ResNet has no option 'gone'"),
    ],
)
def test_arguments_of_another_type(change, told):
    right = {"in_channels": 1, "widths": [8, 8, 8, 8], "dropout": 0}
    check_arguments(ResNet, right, "net.ckpt")
    with pytest.raises(UserError, match=rf"net\.ckpt.*{told}"):
        check_arguments(ResNet, {**right, **change}, "net.ckpt")


@pytest.mark.parametrize(("former", "present"), FORMER.items())
def test_a_file_of_version_0_1_names_classes_as_they_were_called(former, present):
    module, _, name = present.rpartition(".")
    assert hasattr(import_module(module), name)
    places = [(part, nested) for part, names in KNOWN.items() for nested in (False, True) if present in names[nested]]
    assert all(known(former, part, nested) for part, nested in places)
    assert places or "Sampler" in present  # a sampler is remembered by its search alone


def test_a_former_name_leads_to_the_present_class():
    former = "fer_lightning.training.adversarial.AdversarialAugmentation"
    assert (
        look_up(former, "procedure", nn.Module, "config.yaml").__module__ == "fer_lightning.training.gan_augmentation"
    )


def test_only_targets_of_a_stored_config_get_present_names():
    former = "fer_lightning.training.saving.AtomicCheckpoints"
    stored = {"trainer": {"plugins": [{"_target_": former, "name": former}]}, "seed": 1}
    present = with_present_names(stored)
    assert present["trainer"]["plugins"] == [
        {"_target_": "fer_lightning.training.callbacks.AtomicCheckpoints", "name": former}
    ]
    assert present["seed"] == 1
