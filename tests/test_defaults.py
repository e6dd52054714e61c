"""What runs without Hydra runs as configured: signatures have the defaults of conf/."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from PIL import Image

import fer_lightning
from fer_lightning import Predictor, create_model, list_models
from fer_lightning.commands.instantiate import build_classifier, build_datamodule, build_net
from fer_lightning.data.synthetic import Synthetic
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.losses.cross_entropy import CrossEntropy
from fer_lightning.models.psysfa_net import PsySFANet
from fer_lightning.models.resnet import ResNet
from fer_lightning.models.weighted_voting import WeightedVoting
from fer_lightning.training.callbacks import BestCheckpoint
from fer_lightning.training.checkpoints import load_net
from fer_lightning.training.classifier import ExpressionClassifier
from fer_lightning.training.description import describe

GROUPS = ("data", "model", "loss", "scheduler", "procedure", "callbacks", "logger")
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((conf_dir() / group).glob("*.yaml"))]
# Configs of a class under another name, with values of their own.
VARIANTS = {("model", "hafem_lite"), ("model", "multimodal_emotion")}
NO_DEFAULT = {
    "root": "where the user's copy of a data set lies",
    "folder": "of the run",
    "save_dir": "of the run",
    "generator": "is built for the data",
    "discriminator": "is built for the data",
    "generator_optimizer": "of the comparison with a GAN alone",
    "discriminator_optimizer": "of the comparison with a GAN alone",
}
OTHER_DEFAULT = {
    "transforms": "augment=... is a choice of its own; without it images stay as they are",
    "checkpoints": "the runs whose networks become the members of a vote",
}
# What the command computes from the data, and what stays for the procedure.
NOT_IN_CONF = {"num_classes", "class_counts", "embed_dim", "members", "mirror"}


@pytest.fixture(autouse=True)
def composer() -> Iterator[None]:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def compose(*overrides: str) -> DictConfig:
    return hydra.compose("train", ["output_dir=outputs/none", *overrides])


def named_classes(node: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every class or function of this package that a config names, with the values it is called with."""
    if not isinstance(node, dict):
        return
    for value in node.values():
        yield from named_classes(value)
    if str(node.get("_target_")).startswith("fer_lightning."):
        yield get_object(node["_target_"]), {name: value for name, value in node.items() if name[0] != "_"}


@pytest.mark.parametrize(("group", "choice"), [pair for pair in CHOICES if pair not in VARIANTS])
def test_signatures_have_the_defaults_of_conf(group, choice):
    overrides = [f"{group}={choice}"] if group != "data" else [f"data={choice}", "data.root=here"]
    node = OmegaConf.to_container(compose(*overrides), resolve=True).get(group)
    for target, values in named_classes(node):
        parameters = inspect.signature(target).parameters
        for name, value in values.items():
            if name in OTHER_DEFAULT:
                continue
            default = parameters[name].default
            if target is Synthetic and name == "root":
                assert default is None
            elif name in NO_DEFAULT:
                assert default is inspect.Parameter.empty, f"{target.__name__}.{name}"
            else:
                default = Synthetic().cache_dir if name == "cache_dir" else default
                assert value == (list(default) if isinstance(default, tuple) else default), f"{target.__name__}.{name}"
        if group in ("data", "model", "loss"):
            assert parameters.keys() - values.keys() <= NOT_IN_CONF, target.__name__


def test_the_walk_sees_nested_classes():
    node = OmegaConf.to_container(compose("procedure=gan").procedure, resolve=True)
    assert {target.__name__ for target, _ in named_classes(node)} == {
        "AdversarialAugmentation",
        "Generator",
        "Discriminator",
    }


def test_the_classifier_trains_by_default_as_the_command_does():
    cfg = compose()
    classifier = ExpressionClassifier(ResNet(num_classes=7))
    optimizer, scheduler = classifier._optimizer, classifier._scheduler
    assert isinstance(optimizer, partial) and optimizer.func is get_object(cfg.optimizer._target_)
    assert optimizer.keywords == {name: value for name, value in cfg.optimizer.items() if name[0] != "_"}
    assert scheduler is get_object(cfg.scheduler._target_)
    assert inspect.signature(ExpressionClassifier).parameters["channels_last"].default is cfg.channels_last
    assert classifier.mixing is None and cfg.mixing.mixup_alpha == cfg.mixing.cutmix_alpha == 0
    logits, target = torch.randn(5, 7), torch.randint(7, (5,))
    assert cfg.loss._target_.endswith(".CrossEntropy")
    assert torch.equal(classifier.loss(logits, target), CrossEntropy()(logits, target))
    selection = inspect.signature(BestCheckpoint).parameters
    assert (selection["monitor"].default, selection["mode"].default) == (cfg.selection.monitor, cfg.selection.mode)


def test_the_description_is_that_of_the_command():
    cfg = compose("data.size=140", "model.num_filters=32", "augment=none")
    data = build_datamodule(cfg)
    net = build_net(cfg, len(data.label_set))
    assert describe(net, data) == build_classifier(cfg, net, data).description


def test_members_of_a_vote_are_described():
    members = [ResNet(num_classes=7), PsySFANet(num_classes=7, stride=1)]
    vote = WeightedVoting(num_classes=7, members=members)
    data = Synthetic(size=140)
    data.setup()
    described = describe(vote, data)["model"]
    assert [member["_target_"].rpartition(".")[2] for member in described["members"]] == ["ResNet", "PsySFANet"]
    assert described["members"][1]["stride"] == 1
    assert "num_classes" not in described["members"][0]


def test_a_net_of_another_kind_needs_the_number_of_classes_and_has_no_description():
    net = torch.nn.Linear(3, 7)
    with pytest.raises(UserError, match="num_classes must be set for Linear"):
        ExpressionClassifier(net)
    assert ExpressionClassifier(net, num_classes=7).description == {}
    assert describe(net, Synthetic()) == describe(ResNet(num_classes=7), None) == {}


def test_inverse_weights_need_counts():
    with pytest.raises(ValueError, match="needs class_counts"):
        CrossEntropy(class_weights="inverse")


EXAMPLE = re.search(r"```python\n(.*?)```", str(fer_lightning.__doc__), re.DOTALL)
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.filterwarnings("ignore")
def test_the_example_from_python_runs(tmp_path, monkeypatch, write_record):
    pytest.importorskip("mediapipe", exc_type=ImportError)
    few = {"size=6000": "size=210", "max_epochs=10": "max_epochs=1"}
    assert EXAMPLE and all(EXAMPLE[1].count(many) == 1 for many in few)
    code = re.sub("|".join(few), lambda match: few[match[0]], EXAMPLE[1])
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pytest.importorskip("skimage.data").astronaut()).save("astronaut.png")
    for number, share in enumerate((0.9, 0.5)):
        right = np.random.default_rng(number).random(200) < share
        write_record(Path("outputs/two", str(number)), [f"model=net_{number}"], 0, right)
    names: dict[str, Any] = {}
    exec(code, names)
    scores = names["trainer"].callback_metrics
    assert 0 <= scores["test/accuracy"] <= 1 and scores["test/loss"] > 0
    assert names["net"].classes == tuple(names["faces"].label_set.classes)
    assert load_net("checkpoints/best.ckpt").description == describe(names["net"], names["faces"])
    assert names["table"][["label", "error"]].fillna("-").to_numpy().tolist() == [
        ["happy", ""],
        ["-", "nobody.png does not exist."],
    ]
    assert names["tests"]["p_holm"][0] < 0.001


def test_the_readme_shows_the_same_example():
    section = re.search(r"^## From Python\n(.*?)^## ", README.read_text(), re.DOTALL | re.MULTILINE)
    assert section and EXAMPLE and f"```python\n{EXAMPLE[1]}```" in section[1]


def test_models_have_the_options_of_conf():
    names = {choice for group, choice in CHOICES if group == "model"} - {"weighted_voting"}
    assert set(list_models()) == names
    for name in names:
        conf = OmegaConf.to_container(compose(f"model={name}", "data.root=here").model, resolve=True)
        del conf["_target_"]
        built = create_model(name).options
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in built.items()}
        assert plain == {"num_classes": 7, **conf}, name


def test_the_predictor_reads_by_default_as_the_command_does():
    conf = OmegaConf.load(conf_dir() / "predict.yaml")
    options = {**inspect.signature(Predictor).parameters, **inspect.signature(Predictor.video).parameters}
    shared = {"backend", "threads", "threshold", "max_faces", "min_face", "smoothing"}
    assert {name: options[name].default for name in shared} == {name: conf[name] for name in shared}
    assert options["model"].default == conf.checkpoint
    assert options["thorough"].default is True and conf.search == "auto"  # of photos


def test_the_classifier_takes_a_learning_rate():
    net = ResNet(num_classes=7)
    adamw = ExpressionClassifier(net, lr=0.02)._optimizer([{"params": net.parameters()}])
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.02, 0.05)
    sgd = ExpressionClassifier(net, lr=0.5, optimizer=torch.optim.SGD)._optimizer([{"params": net.parameters()}])
    assert sgd.param_groups[0]["lr"] == 0.5
