"""Every network takes a training step on every dataset, in grey and in colour, through the path of `fer train`.

All pairs are slow. The fast ones have each network in grey, in colour and with other than seven classes, and each
dataset in grey and in colour with two networks or more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from fer_lightning.commands.instantiate import build_classifier, build_datamodule, build_net, build_trainer
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir

# A vote of finished runs has nothing to train.
NOT_TRAINED = {"weighted_voting"}
MODELS = sorted({path.stem for path in (conf_dir() / "model").glob("*.yaml")} - NOT_TRAINED)
# 28 million weights; hafem_lite is the same class.
SLOW = {"hafem"}
DATASETS = ("fer2013", "ferplus", "rafdb", "folder", "affectnet", "ckplus", "synthetic")
OPTIONS = {"synthetic": ["data.size=70"], "rafdb": ["data.val_fraction=0.34"], "affectnet": ["data.val_fraction=0.34"]}


@pytest.fixture(scope="module")
def compose(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], DictConfig]:
    """`compose(model, data, channels)`: a config of `fer train` over tiny trees in the official layouts."""
    folder = tmp_path_factory.mktemp("combinations")
    plain = [
        f"data.cache_dir={folder / 'cache'}",
        f"output_dir={folder / 'output'}",
        "data.image_size=32",
        "data.batch_size=4",
        "data.align_workers=1",
        "trainer=cpu",
        "trainer.precision=bf16-mixed",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1",
        "trainer.enable_progress_bar=false",
        "trainer.enable_checkpointing=false",
        "logger=none",
        "callbacks=[]",
    ]

    def compose(model: str, data: str, channels: int) -> DictConfig:
        options = [f"model={model}", f"data={data}", f"data.channels={channels}", *plain, *OPTIONS.get(data, [])]
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra.compose("train", [*options, f"data.root={trees / data}"])

    return compose


@pytest.fixture(scope="module")
def datamodule_of() -> Callable[[DictConfig], ExpressionDataModule]:
    """Builds every data module once for all networks that are fed alike."""
    built: dict[tuple[str, int, str], ExpressionDataModule] = {}

    def get(cfg: DictConfig) -> ExpressionDataModule:
        key = (cfg.data._target_, cfg.data.channels, cfg.data.side)
        if key not in built:
            built[key] = build_datamodule(cfg)
        return built[key]

    return get


@pytest.fixture(scope="module")
def net_of() -> Callable[[str, DictConfig, int], nn.Module]:
    """Builds the network that a config asks for, unless the tests before took the same one."""
    built: dict[tuple[int, int], nn.Module] = {}
    names = [""]

    def get(name: str, cfg: DictConfig, num_classes: int) -> nn.Module:
        if names[-1] != name:
            names.append(name)
            built.clear()
        key = (cfg.data.channels, num_classes)
        if key not in built:
            built[key] = build_net(cfg, num_classes)
        return built[key]

    return get


INPUTS = [(data, channels) for channels in (1, 3) for data in DATASETS]
CASES = [
    pytest.param(model, *chosen, marks=() if model not in SLOW and (number + place) % 4 == 0 else pytest.mark.slow)
    for number, model in enumerate(MODELS)
    for place, chosen in enumerate(INPUTS)
]


@pytest.mark.parametrize(("model", "data", "channels"), CASES)
def test_a_training_step(model, data, channels, compose, datamodule_of, net_of):
    cfg = compose(model, data, channels)
    if cfg.data.side != "none":
        pytest.importorskip("mediapipe")
    datamodule = datamodule_of(cfg)
    net = net_of(model, cfg, len(datamodule.label_set))
    before = {name: weight.detach().clone() for name, weight in net.named_parameters() if weight.ndim > 1}
    trainer = build_trainer(cfg, [], [])
    trainer.fit(build_classifier(cfg, net, datamodule), datamodule=datamodule)
    assert trainer.global_step == 1
    assert [name for name, weight in before.items() if torch.equal(weight, net.get_parameter(name))] == []
    # Validation comes after the step.
    assert trainer.callback_metrics["train/loss"].isfinite() and trainer.callback_metrics["val/loss"].isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 5], ids=["alone", "last"])  # of six images
@pytest.mark.parametrize("model", sorted(set(MODELS) - SLOW))
def test_a_batch_of_one_image_is_trained_on_or_refused_in_a_sentence(model, batch_size, compose):
    cfg = compose(model, "folder", 1)
    if cfg.data.side != "none":
        pytest.importorskip("mediapipe")
    cfg.data.batch_size = batch_size
    cfg.trainer.limit_train_batches = 2
    datamodule = build_datamodule(cfg)
    trainer = build_trainer(cfg, [], [])
    classifier = build_classifier(cfg, build_net(cfg, len(datamodule.label_set)), datamodule)
    try:
        trainer.fit(classifier, datamodule=datamodule)
    except UserError as error:
        assert "must have at least 2; got 1: use data.batch_size=2 or more" in str(error)
    else:
        assert trainer.global_step == (2 if batch_size == 1 else 1)  # the last, incomplete batch is left out
        assert trainer.callback_metrics["train/loss"].isfinite() and trainer.callback_metrics["val/loss"].isfinite()
