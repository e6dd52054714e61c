from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fer_lightning.data.folder import Folder
from fer_lightning.errors import UserError
from fer_lightning.evaluation.cross_dataset import predict_shared, score_other_data, share_classes
from fer_lightning.evaluation.scoring import Inference

CLASSES = ("happy", "sad", "surprise")


class Brightness(nn.Module):
    """Says happy of bright pictures, sad of dark ones, and surprise a little of all."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean(dim=(1, 2, 3))
        return torch.stack([mean, -mean, torch.full_like(mean, -0.5)], dim=1)


def write(path: Path, level: int, mark: int) -> None:
    """A picture of one level that no other mark has."""
    image = np.full((16, 16), level, np.uint8)
    image[0, 0] = mark
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def folder_of(root: Path, rows: list[tuple[str, str, int, int]], cache: Path) -> Folder:
    """The data module over pictures given as split, class, level and mark."""
    for split, name, level, mark in rows:
        write(root / split / name / f"{level}_{mark}.png", level, mark)
    options = {"image_size": 16, "channels": 1, "mean": [0.5], "std": [0.25], "batch_size": 4, "num_workers": 0}
    options |= {"split": "official", "val_fraction": 0.1, "split_seed": 0, "fold": 0, "seed": 0, "store": "packed"}
    options |= {"on_bad_sample": "raise", "sampler": "shuffle", "align": False, "side": "none", "transforms": []}
    found = Folder(root=str(root), cache_dir=str(cache), landmark_model=None, align_workers=None, **options)
    found.setup()
    return found


@pytest.fixture
def own(tmp_path):
    trained = [("train", "happy", 200, 1), ("train", "sad", 50, 2), ("train", "surprise", 120, 3)]
    rest = [("val", "happy", 200, 4), ("val", "sad", 50, 5), ("test", "happy", 200, 6), ("test", "sad", 50, 7)]
    rest += [("val", "surprise", 120, 8), ("test", "surprise", 120, 13)]
    return folder_of(tmp_path / "own", [*trained, *rest], tmp_path / "cache")


@pytest.fixture
def other(tmp_path):
    """Of its test images one was trained on, one selected on, one tested on, three are new; one class is unknown."""
    copies = [("test", "happy", 200, 1), ("test", "sad", 50, 5), ("test", "happy", 200, 6)]
    new = [("test", "happy", 210, 9), ("test", "sad", 60, 10), ("test", "sad", 220, 11), ("test", "contempt", 90, 12)]
    rest = [(split, name, 150, 20 + mark) for mark, (split, name) in enumerate(REST)]
    return folder_of(tmp_path / "other", [*copies, *new, *rest], tmp_path / "cache")


REST = [(split, name) for split in ("train", "val") for name in ("happy", "sad", "contempt")]


@pytest.fixture
def run():
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, barebones=False
    )
    return trainer, Inference(Brightness(), channels_last=False)


def test_copies_of_what_training_or_selection_saw_are_left_out(run, other, own):
    found = score_other_data(*run, other, CLASSES, own)
    # Left: 200/6 and 210 happy and bright, 60 sad and dark, 220 sad but bright.
    assert (found["n"], found["accuracy"], found["seen"]) == (4, 0.75, 2)
    assert found["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["left_out"] == {"contempt": 1} and found["never_right"] == ["surprise"]
    assert found["same_pictures"] == pytest.approx(3 / 13)
    assert found["protocol"] == {**other.protocol.to_dict(), "classes": ["happy", "sad"]}
    assert found["accuracy_low"] < 0.75 < found["accuracy_high"]


def test_without_the_own_data_nothing_is_left_out_and_the_record_says_so(run, other):
    found = score_other_data(*run, other, CLASSES, None)
    assert (found["n"], found["seen"], found["same_pictures"]) == (6, None, None)


def test_no_image_left(run, own):
    copies = folder_of(
        Path(own.root).parent / "copies",
        [
            (split, name, level, mark)
            for split in ("train", "val", "test")
            for name, level, mark in [("happy", 200, 1), ("sad", 50, 2)]
        ],
        Path(own.cache_dir),
    )
    with pytest.raises(UserError, match="folder must have test images of classes that the network has"):
        score_other_data(*run, copies, CLASSES, own)


def test_what_is_not_shared_is_told(run, other, caplog):
    with caplog.at_level(logging.WARNING):
        shared = predict_shared(*run, other, "test", CLASSES)
    assert shared.classes == ("happy", "sad") and len(shared.table) == 6
    assert "1 images of class contempt are left out" in caplog.text
    assert "The data has no class surprise" in caplog.text


def predictions(targets: list[int], probabilities: dict[str, list[float]]) -> pd.DataFrame:
    columns = {f"prob_{name}": values for name, values in probabilities.items()}
    return pd.DataFrame(
        {"id": [f"image{row}" for row in range(len(targets))], "split": "test", "target": targets} | columns
    )


def test_same_classes_change_nothing():
    table = predictions([0, 1], {"happy": [0.9, 0.2], "sad": [0.1, 0.8]})
    shared = share_classes(table, ["happy", "sad"], ["happy", "sad"])
    pd.testing.assert_frame_equal(shared.table, table, check_dtype=False)
    assert (shared.classes, shared.left_out, shared.never_right) == (("happy", "sad"), {}, ())


def test_by_name_whatever_the_order_of_the_data():
    table = predictions(
        [0, 1, 2, 0], {"happy": [0.5, 0.1, 0.2, 0.6], "sad": [0.3, 0.1, 0.2, 0.2], "neutral": [0.2, 0.8, 0.6, 0.2]}
    )
    shared = share_classes(table, ["happy", "sad", "neutral"], ["sad", "contempt", "happy"])
    assert shared.classes == ("happy", "sad")
    assert shared.left_out == {"contempt": 1}
    assert shared.never_right == ("neutral",)
    assert shared.table["id"].tolist() == ["image0", "image2", "image3"]
    assert shared.table["target"].tolist() == [1, 0, 1]
    assert shared.table["prob_happy"].tolist() == pytest.approx([5 / 8, 1 / 2, 3 / 4])
    assert shared.table["prob_sad"].tolist() == pytest.approx([3 / 8, 1 / 2, 1 / 4])
    assert list(shared.table) == ["id", "split", "target", "prob_happy", "prob_sad"]


def test_a_row_without_any_shared_probability_survives():
    table = predictions([0, 1], {"happy": [0.0, 0.5], "sad": [0.0, 0.5], "neutral": [1.0, 0.0]})
    shared = share_classes(table, ["happy", "sad", "neutral"], ["happy", "sad"])
    assert shared.table[["prob_happy", "prob_sad"]].iloc[0].tolist() == [0.0, 0.0]


def test_refuses_fewer_than_two_shared_classes():
    with pytest.raises(UserError, match="happy, sad"):
        share_classes(predictions([0], {"happy": [0.5], "sad": [0.5]}), ["happy", "sad"], ["sad", "neutral"])
