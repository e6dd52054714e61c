from __future__ import annotations

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fer_lightning.data.corruptions import corruption
from fer_lightning.data.folder import Folder
from fer_lightning.evaluation.robustness import score_corruptions, summarise_robustness
from fer_lightning.evaluation.scoring import Inference

CLASSES = ("happy", "sad", "surprise")


class Brightness(nn.Module):
    """Says `sad` of dark pictures and `happy` of others."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean(dim=(1, 2, 3)) - 0.4
        return torch.stack([10 * mean, -10 * mean, torch.full_like(mean, -20)], dim=1)


@pytest.fixture
def datamodule(tiny_folder, tmp_path) -> Folder:
    module = Folder(
        root=str(tiny_folder),
        image_size=32,
        channels=1,
        mean=[0.0],
        std=[1.0],
        batch_size=8,
        num_workers=0,
        split="official",
        val_fraction=0.1,
        split_seed=0,
        fold=0,
        seed=0,
        store="packed",
        cache_dir=str(tmp_path),
        on_bad_sample="raise",
        sampler="shuffle",
        align=False,
        side="none",
        landmark_model=None,
        align_workers=None,
        transforms=[],
    )
    module.setup()
    return module


def trainer(**options: object) -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, **options)


def test_scores_are_those_of_the_corrupted_pictures(datamodule):
    """All pictures are named happy when clean and, four stops darker, sad; a third of them is of either class."""
    inference = Inference(Brightness(), channels_last=False)
    table = score_corruptions(
        trainer(enable_progress_bar=False), inference, datamodule, CLASSES, ["darkness", "noise"], "test"
    )
    assert table["corruption"].tolist() == ["clean", *["darkness"] * 5, *["noise"] * 5]
    assert table["severity"].tolist() == [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    assert set(table["n"]) == {15}
    assert table["accuracy"].tolist() == pytest.approx([1 / 3] * 11)
    # macro F1 of one class named for all: F1 = 2 * 1/3 / (1 + 1/3) for it and 0 for the other two.
    assert table["macro_f1"].tolist() == pytest.approx([1 / 6] * 11)
    losses = []
    for severity in range(6):
        dataset = datamodule.dataset("test")
        dataset.augmentation = corruption("darkness", severity, 32) if severity else None
        image, target = dataset.__getitems__(range(15))
        losses.append(float(nn.functional.cross_entropy(Brightness()(image), target)))
    assert table["loss"].tolist()[:6] == pytest.approx(losses, rel=1e-4)
    assert (table["accuracy_low"] < table["accuracy"]).all() and (table["accuracy"] < table["accuracy_high"]).all()


def test_two_nets_see_the_same_pictures(datamodule):
    seen = []
    for seed in (0, 1):
        datamodule.seed = seed
        loader = datamodule.eval_dataloader("test", corruption("noise", 3, 32))
        seen.append(torch.cat([image for image, _ in loader]))
    assert torch.equal(*seen)
    clean = torch.cat([image for image, _ in datamodule.eval_dataloader("test")])
    assert 0.08 < float((seen[0] - clean).std()) < 0.13


def test_classes_that_net_and_data_share_are_scored(datamodule):
    class TwoAndOne(Brightness):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image)[:, [0, 1]]

    inference = Inference(TwoAndOne(), channels_last=False)
    table = score_corruptions(
        trainer(enable_progress_bar=False), inference, datamodule, ("happy", "sad"), ["blur"], "val"
    )
    assert set(table["n"]) == {12} and table["accuracy"][0] == 0.5


def test_one_bar_is_shown_for_all(datamodule, capsys):
    own = trainer()
    bar = own.progress_bar_callback
    inference = Inference(Brightness(), channels_last=False)
    score_corruptions(own, inference, datamodule, CLASSES, ["mask"], "val")
    assert bar in own.callbacks and own.progress_bar_callback is bar
    assert "Predicting" not in capsys.readouterr().out


def test_summary_by_hand():
    rows = [("clean", 0, 0.8), *(("mask", s, 0.4) for s in range(1, 6)), ("blur", 1, 0.8), ("blur", 2, 0.4)]
    table = pd.DataFrame(rows, columns=["corruption", "severity", "accuracy"])
    assert summarise_robustness(table) == {
        "clean": 0.8,
        "accuracy": {"mask": pytest.approx(0.4), "blur": pytest.approx(0.6), "mean": pytest.approx(0.5)},
        "relative": {"mask": pytest.approx(0.5), "blur": pytest.approx(0.75), "mean": pytest.approx(0.625)},
    }
    assert summarise_robustness(table.assign(accuracy=0.0))["relative"]["mean"] is None
