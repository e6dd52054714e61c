"""Every network takes a training step on every dataset, in grey and in colour, through the path of `fer train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import hydra
import numpy as np
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
USAGES = ("Training", "PublicTest", "PrivateTest")
RNG = np.random.default_rng(0)


def write_image(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), RNG.integers(0, 256, (side, side, 3), np.uint8))


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_fer2013(root: Path) -> None:
    rows = [f"{code},{pixels()},{usage}" for usage in USAGES for code in range(7)]
    write_lines(root / "fer2013.csv", ["emotion,pixels,Usage", *rows])


def pixels() -> str:
    return " ".join(map(str, RNG.integers(0, 256, 48 * 48)))


def write_ferplus(root: Path) -> None:
    """All ten votes of each row go to one of the eight emotions."""
    emotions = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = [(usage, emotion) for usage in USAGES for emotion in range(8)]
    votes = [
        f"{usage},fer{number:07d}.png,{','.join('10' if emotion == column else '0' for column in range(10))}"
        for number, (usage, emotion) in enumerate(rows)
    ]
    write_lines(root / "fer2013new.csv", [f"Usage,Image name,{emotions}", *votes])
    write_lines(root / "fer2013.csv", ["emotion,pixels,Usage", *[f"0,{pixels()},{usage}" for usage, _ in rows]])


def write_rafdb(root: Path) -> None:
    names = [(f"{split}_{number:05d}", number % 7 + 1) for split in ("train", "test") for number in range(1, 22)]
    write_lines(root / "basic/EmoLabel/list_patition_label.txt", [f"{name}.jpg {code}" for name, code in names])
    for name, _ in names:
        write_image(root / "basic/Image/aligned" / f"{name}_aligned.jpg", 100)


def write_affectnet(root: Path) -> None:
    for part in ("train_set", "val_set"):
        for number in range(24):
            write_image(root / part / "images" / f"{number}.jpg", 112)
            annotations = {"exp": str(number % 8), "val": "-0.5", "aro": "0.25", "lnd": np.zeros(136)}
            for kind, value in annotations.items():
                (root / part / "annotations").mkdir(parents=True, exist_ok=True)
                np.save(root / part / "annotations" / f"{number}_{kind}.npy", value)


def write_ckplus(root: Path) -> None:
    """Ten subjects, one for each fold, each in seven sequences of three frames."""
    for subject in range(10):
        for code in range(1, 8):
            stem = f"S{subject:03d}_{code:03d}"
            folder = f"S{subject:03d}/{code:03d}"
            for frame in range(1, 4):
                write_image(root / "cohn-kanade-images" / folder / f"{stem}_{frame:08d}.png", 48)
            write_lines(root / "Emotion" / folder / f"{stem}_{3:08d}_emotion.txt", [f"   {code:.7e}"])


def write_folder(root: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("angry", "happy", "bored"):
            for number in range(2):
                write_image(root / split / name / f"{number}.png", 64)


WRITERS: dict[str, Callable[[Path], None]] = {
    "fer2013": write_fer2013,
    "ferplus": write_ferplus,
    "rafdb": write_rafdb,
    "affectnet": write_affectnet,
    "ckplus": write_ckplus,
    "folder": write_folder,
}
OPTIONS = {"synthetic": ["data.size=70"], "rafdb": ["data.val_fraction=0.34"], "affectnet": ["data.val_fraction=0.34"]}


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], DictConfig]:
    """`compose(model, data, channels)`: a config of `fer train` over tiny trees in the official layouts."""
    folder = tmp_path_factory.mktemp("trees")
    for name, write in WRITERS.items():
        write(folder / name)
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
            return hydra.compose("train", [*options, f"data.root={folder / data}"])

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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("data", [*WRITERS, "synthetic"])
@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODELS]
)
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
