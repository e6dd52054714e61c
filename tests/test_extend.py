"""The template in `docs/extend`: a network, loss, augmentation, data set and study outside the package."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from fer_lightning.commands.instantiate import build_loss
from fer_lightning.models import ResNet
from fer_lightning.training.registry import trust

TEMPLATE = Path(__file__).parents[1] / "docs" / "extend"
COMMANDS = [
    shlex.split(line, comments=True)[1:] for line in re.findall(r"^fer .*", (TEMPLATE / "README.md").read_text(), re.M)
]
QUICK = {
    "train": ["trainer=cpu", "trainer.max_epochs=1", "data.batch_size=2", "logger=none", "callbacks=[]"],
    "report": ["--wandb", "disabled"],
    "explain": ["shap=none", "n=2", "faithfulness.steps=2"],
}


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Working folder with a copy of the template and 40 images that its data set reads."""
    shutil.copytree(TEMPLATE, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        for number in range(count):
            file = f"{split}{number}.png"
            rows.append((file, ("happiness", "sad")[number % 2], f"person {split}{number // 4}", split))
            (tmp_path / "data" / "mine").mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / "data" / "mine" / file), rng.integers(0, 256, (48, 48), np.uint8))
    table = pd.DataFrame(rows, columns=["file", "expression", "person", "split"])
    table.to_csv(tmp_path / "data" / "mine" / "faces.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    trust(())
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]


def test_one_run_of_the_template_and_its_evaluation(template, fer, capsys):
    assert fer(*COMMANDS[0], *QUICK["train"]) == 0, capsys.readouterr().err
    assert fer("evaluate", "checkpoint=last", "plugins=[mypkg]") == 0, capsys.readouterr().err
    assert fer("evaluate", "checkpoint=last") == 2
    assert "add plugins=[mypkg]" in capsys.readouterr().err


@pytest.mark.slow
def test_the_commands_of_the_template_run_in_another_folder(template, fer, capsys):
    assert [command[0] for command in COMMANDS] == ["train", "train", "report", "evaluate", "explain", "export"]
    for command in COMMANDS:
        assert fer(*command, *QUICK.get(command[0], [])) == 0, (command, capsys.readouterr().err)
    (run,) = (template / "outputs" / "mynet_mine").iterdir()
    assert (run / "metrics.json").is_file()
    table = pd.read_csv(template / "experiments" / "mine_mine_smoke" / "accuracy.csv")
    assert table["row"].tolist() == ["All channels", "A quarter of the channels"]
    assert table["n_seeds"].tolist() == [2, 2] and table["mean"].between(0, 1).all()
    assert list(template.glob("outputs/explain/*/gradcam.png")) and list(template.glob("outputs/export/*/model.onnx"))


def test_its_data_set_names_its_columns_and_a_failed_start_leaves_nothing(template, fer, capsys):
    table = template / "data" / "mine" / "faces.csv"
    pd.read_csv(table).rename(columns={"person": "who"}).to_csv(table, index=False)
    assert fer(*COMMANDS[0], *QUICK["train"]) == 2
    error = capsys.readouterr().err
    assert "faces.csv must have the columns file,expression,person,split; person is missing." in error
    table.unlink()
    assert fer(*COMMANDS[0], *QUICK["train"]) == 2
    assert "a table with the columns file,expression,person,split; got data/mine" in capsys.readouterr().err
    assert not (template / "outputs").exists()


def test_a_network_without_its_plugin_is_refused_before_training(template, fer, capsys):
    command = [word for word in COMMANDS[0] if not word.startswith("plugins")]
    assert fer(*command, *QUICK["train"]) == 2
    assert "the network is mypkg.net.MyNet: add plugins=[mypkg]." in capsys.readouterr().err
    assert not (template / "outputs").exists()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("torch.nn.CrossEntropyLoss", {"label_smoothing": 0.1}),
        ("fer_lightning.losses.cross_entropy.CrossEntropy", {"class_weights": "inverse"}),
        ("fer_lightning.losses.compound.CompoundLoss", {}),
    ],
)
def test_a_loss_gets_class_counts_if_it_has_them(target, options):
    net = ResNet(num_classes=3, widths=[8, 8, 8, 8])
    loss = build_loss(OmegaConf.create({"loss": {"_target_": target, **options}}), net, [1, 2, 3])
    features = [torch.zeros(2, net.embed_dim)] if getattr(loss, "needs_features", False) else []
    assert float(loss(torch.zeros(2, 3), torch.tensor([0, 2]), *features)) > 0
