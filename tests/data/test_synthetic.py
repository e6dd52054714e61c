from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lightning.data.alignment.landmarker import Landmarker, find_model_file
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.labels import EIGHT, SEVEN
from fer_lightning.data.synthetic import Synthetic, SyntheticFaces
from fer_lightning.data.synthetic_faces.render import draw_face
from fer_lightning.errors import UserError

MakeData = Callable[..., ExpressionDataModule]
OPTIONS = {"classes": 7, "size": 140, "difficulty": 0.5, "face_seed": 0}


def reader(difficulty: float = 0.5, count: int = 70) -> SyntheticFaces:
    return SyntheticFaces(0, SEVEN.classes, difficulty, np.arange(count))


@pytest.mark.parametrize("classes, labels", [(7, SEVEN), (8, EIGHT)])
def test_classes_are_balanced_in_every_split(make_data: MakeData, classes: int, labels: object) -> None:
    samples = make_data(Synthetic, None, **{**OPTIONS, "classes": classes, "size": 20 * classes}).scan()
    assert samples.label_set == labels
    table = samples.frame.groupby(["split", "label"]).size().unstack()
    assert table.loc["train"].tolist() == [14] * classes
    assert table.loc["val"].tolist() == [2] * classes
    assert table.loc["test"].tolist() == [4] * classes
    assert samples.frame["id"].is_unique


@pytest.mark.parametrize("split", ["official", "subject_kfold"])
def test_nobody_is_in_two_splits(make_data: MakeData, split: str) -> None:
    data = make_data(Synthetic, None, **{**OPTIONS, "split": split, "size": 143})
    plan = data.plan(data.scan().frame)
    people = data.scan().frame["group"].groupby(plan.names).agg(set)
    assert set(people.index) == {"train", "val", "test"}
    assert not people["train"] & people["val"]
    assert not people["train"] & people["test"]
    assert not people["val"] & people["test"]


def test_batches_come_without_any_file(make_data: MakeData) -> None:
    data = make_data(Synthetic, None, **{**OPTIONS, "size": 70})
    data.setup()
    image, target = next(iter(data.train_dataloader()))
    assert image.shape == (4, 1, 16, 16)
    assert target.shape == (4,)
    assert data.protocol.counts == {"train": 49, "val": 7, "test": 14}


def test_parameters_are_those_of_the_pictures(make_data: MakeData) -> None:
    data = make_data(Synthetic, None, **{**OPTIONS, "size": 70})
    table, frame = data.parameters(), data.scan().frame
    assert table["id"].tolist() == frame["id"].tolist()
    assert table["expression"].tolist() == [SEVEN.classes[label] for label in frame["label"]]
    assert table["official"].tolist() == frame["official"].tolist()
    assert table.groupby("group")["skin_tone"].nunique().eq(1).all()
    drawn = data.scan().reader
    face = drawn.parameters(23)
    assert table.loc[23, list(asdict(face.units))].to_dict() == asdict(face.units)
    assert {"yaw", "glasses", "occlusion", "light_contrast", "intensity"} <= set(table.columns)
    np.testing.assert_array_equal(drawn.read(23), draw_face(face, 96))


def test_a_reader_survives_pickling_and_selection() -> None:
    whole = reader()
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again.read(5), whole.read(5))
    part = whole.take(np.array([9, 5]))
    assert len(part) == 2
    np.testing.assert_array_equal(part.read(1), whole.read(5))


def test_the_content_key_tells_other_pictures_apart() -> None:
    whole = reader()
    others = [
        replace(whole, seed=1),
        replace(whole, classes=EIGHT.classes),
        replace(whole, difficulty=0.51),
        whole.take(np.arange(69)),
    ]
    keys = {other.content_key() for other in (whole, *others)}
    assert len(keys) == 5
    assert reader().content_key() == whole.content_key()


@pytest.mark.parametrize("version", ["DRAWING_VERSION", "SAMPLING_VERSION"])
def test_the_content_key_depends_on_the_versions(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    before = reader().content_key()
    monkeypatch.setattr(f"fer_lightning.data.synthetic.{version}", 10**6)
    assert reader().content_key() != before


def test_difficulty_hides_the_expression() -> None:
    def separation(difficulty: float) -> float:
        """Variance of pixels between classes over that within them, without the part that comes from few pictures."""
        drawn = reader(difficulty)
        images = np.stack([cv2.resize(cv2.cvtColor(drawn.read(k), cv2.COLOR_RGB2GRAY), (24, 24)) for k in range(70)])
        images = images.reshape(10, 7, -1).astype(float)
        within = images.var(axis=0, ddof=1).mean(axis=0)
        between = images.mean(axis=0).var(axis=0, ddof=1) - within / 10
        return float(between.sum() / within.sum())

    assert separation(0.0) > 2 * separation(0.5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"classes": 6}, "data.classes must be 7.*got 6"),
        ({"difficulty": 1.5}, "data.difficulty must be from 0 .*got 1.5"),
        ({"size": 69}, "data.size must be at least 70.*got 69"),
    ],
)
def test_options_out_of_range_are_refused(make_data: MakeData, wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_data(Synthetic, None, **{**OPTIONS, **wrong}).scan()


def test_mediapipe_finds_nearly_all_faces(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    faces = reader(0.55, 35)
    with Landmarker(find_model_file(None, tmp_path)) as landmarker:
        found = sum(landmarker.detect(faces.read(position)) is not None for position in range(len(faces)))
    assert found >= len(faces) - 1
