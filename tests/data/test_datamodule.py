from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import albumentations
import cv2
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from scipy.stats import chisquare

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.batch_transforms import BatchTransforms
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.dataset import DeviceImages
from fer_lightning.data.labels import LabelSet
from fer_lightning.data.samples import PixelRows, Samples, refuse_or_skip
from fer_lightning.data.splits import plan_splits
from fer_lightning.data.store import PackedImages
from fer_lightning.errors import UserError

SIDE = 16
Make = Callable[..., "Pixels"]


@dataclass(kw_only=True, eq=False)
class Pixels(ExpressionDataModule):
    """Reads `<root>/pixels.txt`, one image a line; its fields stand for what a real dataset has in files."""

    dataset_name: ClassVar[str] = "pixels"
    policies: ClassVar[tuple[str, ...]] = ("official", "paper_70_30", "subject_kfold")

    labels: Sequence[int]
    splits: Sequence[str] = ()
    votes: bool = False
    found_bad: Sequence[str] = ()
    expected: dict[str, dict[str, int]] = field(default_factory=dict)

    def scan(self) -> Samples:
        path = Path(str(self.root)) / "pixels.txt"
        lines = path.read_bytes().splitlines()[: len(self.labels)]
        ends = np.cumsum([len(line) + 1 for line in lines])
        lengths = np.array([len(line) for line in lines])
        ids = [f"row{number}" for number in range(len(lines))]
        splits = list(self.splits) or ["train"] * len(lines)
        frame = pd.DataFrame({"id": ids, "label": self.labels, "official": splits, "split": splits, "group": ids})
        return Samples(
            frame=frame,
            reader=PixelRows(path, ends - lengths - 1, lengths, np.arange(len(lines)) + 1, SIDE),
            label_set=LabelSet.of(["happy", "sad", "neutral"]),
            release="pixels.txt",
            distributions=np.eye(3, dtype=np.float32)[list(self.labels)] * 0.7 + 0.1 if self.votes else None,
            bad=refuse_or_skip(self.found_bad, self.on_bad_sample),
            expected=self.expected,
            notes=("drawn at random",),
        )


LABELS = [0, 1, 2] * 20
SPLITS = ["train"] * 36 + ["val"] * 12 + ["test"] * 12


@pytest.fixture
def make(tmp_path: Path, make_data: Callable[..., ExpressionDataModule]) -> Make:
    """Makes the dataset of 60 images; `spoilt` rows have a pixel too few, `changed` rows another first pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, SIDE * SIDE))

    def build(spoilt: Sequence[int] = (), changed: Sequence[int] = (), **options: object) -> Pixels:
        rows = pixels.copy()
        rows[list(changed), 0] = (rows[list(changed), 0] + 1) % 256
        lines = [" ".join(map(str, row[1:] if number in spoilt else row)) for number, row in enumerate(rows)]
        (tmp_path / "pixels.txt").write_text("\n".join(lines) + "\n")
        plain: dict[str, object] = {"labels": LABELS, "splits": SPLITS}
        data = make_data(Pixels, tmp_path, **{**plain, **options})
        assert isinstance(data, Pixels)
        return data

    return build


def ready(data: Pixels) -> Pixels:
    data.setup()
    return data


@pytest.mark.parametrize("count", [6, 10_000])
def test_a_limited_number_of_training_images(make, count):
    whole, data = ready(make()), ready(make(train_images=count))
    counts = {split: data.class_counts(split) for split in ("train", "val", "test")}
    assert sum(counts["train"]) == min(count, sum(whole.class_counts("train")))
    assert count > 6 or max(counts["train"]) - min(counts["train"]) <= 1
    assert counts["val"] == whole.class_counts("val") and counts["test"] == whole.class_counts("test")
    assert data.protocol.split.endswith(f", {sum(counts['train'])} of the training rows")
    with pytest.raises(UserError, match=r"data\.train_images must be at least 1"):
        make(train_images=0)


def test_classes_as_groups(make):
    """Sad and happy as one group, without the neutral rows."""
    whole = ready(make(votes=True))
    data = ready(make(votes=True, groups={"one": ["happy", "sad"], "two": ["neutral"]}))
    assert data.label_set.classes == ("one", "two")
    for split in ("train", "val", "test"):
        happy, sad, neutral = whole.class_counts(split)
        assert data.class_counts(split) == [happy + sad, neutral]
    # The votes of a happy row: 0.8, 0.1 and 0.1.
    targets = data._targets["train"]
    neutral = np.arange(36)[:, None] % 3 == 2
    np.testing.assert_allclose(targets, np.where(neutral, [[0.2, 0.8]], [[0.9, 0.1]]), rtol=1e-6)
    assert data.protocol.label_rule == "single label, one: happy, sad; two: neutral"
    assert data.protocol.fingerprint != whole.protocol.fingerprint


def test_a_class_in_no_group_is_left_out(make):
    expected = {"train": {"happy": 12, "sad": 12, "neutral": 12}}
    whole, data = ready(make(expected=expected)), ready(make(expected=expected, groups={"a": ["sad"], "b": ["happy"]}))
    kept = whole.frame[whole.frame["label"] != whole.label_set.index("neutral")]
    assert data.frame["id"].tolist() == kept["id"].tolist()
    assert [data.label_set.classes[label] for label in data.frame["label"]] == [
        {"happy": "b", "sad": "a"}[whole.label_set.classes[label]] for label in kept["label"]
    ]
    np.testing.assert_array_equal(data.pixels(data.frame["row"].to_numpy()), whole.pixels(kept["row"].to_numpy()))
    assert data.samples.unexpected_counts().empty


def test_groups_that_cannot_be_are_refused(make):
    with pytest.raises(UserError, match="'hapy': did you mean happy"):
        ready(make(groups={"a": ["hapy"], "b": ["sad"]}))


def moving() -> list[albumentations.BasicTransform]:
    return [albumentations.HorizontalFlip(p=0.5), albumentations.Affine(rotate=(-20, 20), p=0.9)]


@dataclass
class Somewhere:
    """Where a trainer stands."""

    current_epoch: int
    global_rank: int = 0
    world_size: int = 1
    reload_dataloaders_every_n_epochs: int = 1
    strategy: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(root_device=torch.device("cpu")))


def test_the_content_is_hashed_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a pass over all the data, before every run."""
    asked = []
    hashed = PixelRows.content_key
    monkeypatch.setattr(PixelRows, "content_key", lambda reader: asked.append(reader) or hashed(reader))
    ready(make())
    assert len(asked) == 1


class TestProtocol:
    def test_says_how_a_number_comes_about(self, make: Make) -> None:
        protocol = ready(make()).protocol
        assert protocol.dataset == "pixels"
        assert protocol.release == "pixels.txt"
        assert protocol.classes == ("happy", "sad", "neutral")
        assert protocol.label_rule == "single label"
        assert (protocol.split, protocol.selection, protocol.test) == ("official", "val", "test")
        assert protocol.counts == {"train": 36, "val": 12, "test": 12}
        assert len(protocol.fingerprint) == 16

    @pytest.mark.parametrize(
        "options",
        [
            {"seed": 1},
            {"split_seed": 1},  # nothing is carved here
            {"image_size": 24},
            {"channels": 3},
            {"store": "files"},
            {"batch_size": 7},
            {"on_bad_sample": "skip"},
            {"sampler": "balanced"},
            {"transforms": moving()},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_is_not_a_matter_of_training(self, make: Make, options: dict[str, object]) -> None:
        assert ready(make(**options)).protocol == ready(make()).protocol

    @pytest.mark.parametrize(
        "options",
        [
            {"labels": [1, *LABELS[1:]]},
            {"splits": ["val", *SPLITS[1:]]},
            {"changed": [5]},
            {"votes": True},
            {"split": "paper_70_30"},
            {"spoilt": [5], "on_bad_sample": "skip"},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_fingerprint_follows_labels_splits_and_pixels(self, make: Make, options: dict[str, object]) -> None:
        assert ready(make(**options)).protocol.fingerprint != ready(make()).protocol.fingerprint

    def test_fingerprint_ignores_where_and_when(self, make: Make, tmp_path: Path) -> None:
        first = ready(make()).protocol.fingerprint
        os.utime(tmp_path / "pixels.txt", (1, 1))
        (tmp_path / "moved").mkdir()
        (tmp_path / "pixels.txt").rename(tmp_path / "moved" / "pixels.txt")
        data = make()
        data.root = str(tmp_path / "moved")
        assert ready(data).protocol.fingerprint == first

    @pytest.mark.parametrize("policy", ["official", "paper_70_30", "subject_kfold"])
    def test_seed_of_the_run_never_moves_a_row(self, make: Make, policy: str) -> None:
        carved = {"split": policy, "splits": ["train"] * 60, "val_fraction": 0.1}
        first, second, other = (
            ready(make(**carved, **seeds)) for seeds in ({"seed": 0}, {"seed": 9}, {"split_seed": 9})
        )
        assert first.frame["split"].tolist() == second.frame["split"].tolist() != other.frame["split"].tolist()
        assert first.protocol == second.protocol
        assert first.protocol.fingerprint != other.protocol.fingerprint

    def test_splits_are_those_of_the_plan(self, make: Make) -> None:
        data = ready(make(split="subject_kfold", fold=3))
        expected = plan_splits(data.samples.frame, "subject_kfold", 0.5, 0, 3).names
        assert data.frame["split"].tolist() == expected.tolist()


class TestImages:
    @pytest.mark.parametrize("options", [{}, {"image_size": 24, "channels": 3}], ids=["as they are", "resized"])
    def test_files_equal_packed_pixel_for_pixel(self, make: Make, options: dict[str, object]) -> None:
        packed, files = ready(make(**options)), ready(make(store="files", **options))
        for split in ("train", "val", "test"):
            rows = range(len(packed.ids(split)))
            np.testing.assert_array_equal(packed.dataset(split).pixels(rows), files.dataset(split).pixels(rows))

    def test_rows_targets_and_ids_belong_together(self, make: Make) -> None:
        splits = np.random.default_rng(1).permutation(SPLITS).tolist()
        data = ready(make(splits=splits, spoilt=[0, 31], on_bad_sample="skip"))
        for split in ("train", "val", "test"):
            rows = [row for row in range(60) if splits[row] == split and row not in (0, 31)]
            assert data.ids(split).tolist() == [f"row{row}" for row in rows]
            assert data.dataset(split).targets.tolist() == [LABELS[row] for row in rows]
            expected = [data.samples.reader.read(row) for row in rows]
            np.testing.assert_array_equal(data.dataset(split).pixels(range(len(rows)))[..., 0], expected)

    def test_setup_runs_once(self, make: Make) -> None:
        data = ready(make())
        data.scan = None  # type: ignore[method-assign, assignment]
        data.setup("fit")

    def test_touched_file_is_packed_anew(self, make: Make, tmp_path: Path) -> None:
        before = ready(make()).dataset("train").pixels([5])
        after = ready(make(changed=[5])).dataset("train").pixels([5])
        assert (before != after).sum() == 1


class TestBadRows:
    @pytest.mark.parametrize("store", ["packed", "files"])
    def test_skip_leaves_them_out_and_counts(self, make: Make, store: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            data = ready(
                make(spoilt=[4, 40], found_bad=["labels.csv row 9: no label"], on_bad_sample="skip", store=store)
            )
        assert [message.split(": ", 1)[1] for message in data.bad] == [
            "no label",
            "255 pixels, expected 256.",
            "255 pixels, expected 256.",
        ]
        assert "pixels.txt row 5" in data.bad[1]
        assert "pixels.txt row 41" in data.bad[2]
        assert data.protocol.counts == {"train": 35, "val": 11, "test": 12}
        assert "3 bad rows left out, the first: labels.csv row 9" in caplog.text
        assert sum(len(batch[1]) for batch in data.val_dataloader()) == 11

    def test_raise_names_file_and_row(self, make: Make, tmp_path: Path) -> None:
        for _ in range(2):  # also when the store is there already
            with pytest.raises(UserError) as caught:
                ready(make(spoilt=[4, 40]))
            assert str(caught.value) == (
                f"{tmp_path}/pixels.txt row 5: 255 pixels, expected 256 (1 more like it); correct it, or skip such "
                "rows with data.on_bad_sample=skip."
            )

    def test_raise_comes_when_a_lazy_row_is_read(self, make: Make) -> None:
        data = ready(make(spoilt=[4], store="files"))
        with pytest.raises(UserError, match=r"pixels\.txt row 5: 255 pixels, expected 256; correct it"):
            list(data.train_dataloader())

    def test_nothing_usable(self, make: Make) -> None:
        with pytest.raises(UserError, match="none of 60 images can be decoded"):
            ready(make(spoilt=range(60), on_bad_sample="skip"))
        with pytest.raises(UserError, match="must hold at least one usable image"):
            ready(make(labels=[], splits=[]))

    def test_empty_class(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        labels = [min(label, 1) for label in LABELS]
        with pytest.raises(UserError, match=r"class neutral has no training image; .*data.on_bad_sample=skip"):
            ready(make(labels=labels))
        with caplog.at_level(logging.WARNING):
            data = ready(make(labels=labels, on_bad_sample="skip", sampler="balanced"))
        assert "class neutral has no training image" in caplog.text
        assert data.class_counts("train") == [12, 24, 0]
        assert len(list(data.train_dataloader())) == 9

    @pytest.mark.parametrize("split", ["train", "val", "test"])
    def test_empty_split(self, make: Make, split: str) -> None:
        splits = {"train": ["test"] * 60, "val": ["train"] * 3 + ["test"] * 57, "test": ["train"] * 3 + ["val"] * 57}
        with pytest.raises(UserError, match=f"data.split=official: the {split} split must have an image"):
            ready(make(splits=splits[split]))


class TestCounts:
    def test_class_counts(self, make: Make) -> None:
        data = ready(make(labels=[0] * 20 + [1] * 10 + [2] * 30))
        assert data.class_counts("train") == [20, 10, 6]
        assert data.class_counts("val") == [0, 0, 12]

    def test_unexpected_counts_are_listed_and_told(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        expected = {
            "train": {"happy": 12, "sad": 13, "neutral": 12},
            "val": {"happy": 4, "sad": 4, "neutral": 5},
            "withheld": {"happy": 100, "sad": 100, "neutral": 100},
        }
        with caplog.at_level(logging.WARNING):
            table = ready(make(expected=expected)).samples.unexpected_counts()
        assert table.to_dict("records") == [
            {"split": "train", "class": "sad", "official": 13, "found": 12},
            {"split": "val", "class": "neutral", "official": 5, "found": 4},
        ]
        assert "pixels differs from its official release" in caplog.text
        assert "neutral" in caplog.text

    def test_nothing_unexpected(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            assert ready(make()).samples.unexpected_counts().empty
            assert ready(make(expected={"val": {"happy": 4, "sad": 4, "neutral": 4}})).samples.unexpected_counts().empty
        assert "official release" not in caplog.text
        assert "drawn at random" in caplog.text


class TestLeaks:
    """Row 0 is trained on and equal to row 37 of validation and row 50 of test; 3 and 4 are equal, both in training."""

    @pytest.fixture
    def leaky(self, make: Make, tmp_path: Path) -> Make:
        def build(**options: object) -> Pixels:
            data = make(**options)
            lines = (tmp_path / "pixels.txt").read_text().splitlines()
            lines[37] = lines[50] = lines[0]
            lines[4] = lines[3]
            (tmp_path / "pixels.txt").write_text("\n".join(lines) + "\n")
            return ready(data)

        return build

    def test_nothing_is_dropped_unasked(self, leaky: Make) -> None:
        data = leaky()
        assert len(data.ids("train")) == 36 and "copy" not in data.protocol.split
        assert data.ids("val")[data.seen_in_training("val")].tolist() == ["row37"]
        assert data.ids("test")[data.seen_in_training("test")].tolist() == ["row50"]

    @pytest.mark.parametrize("how", [True, "exact", "near"])
    def test_training_loses_what_is_evaluated(self, leaky: Make, how: bool | str) -> None:
        data, whole = leaky(drop_leaked=how, votes=True), leaky(votes=True)
        assert data.ids("train").tolist() == [name for name in whole.ids("train") if name != "row0"]
        for split in ("val", "test"):
            assert data.ids(split).tolist() == whole.ids(split).tolist()
            assert not data.seen_in_training(split).any()
        np.testing.assert_array_equal(data.dataset("train").targets, whole.dataset("train").targets[1:])
        pixels, all_pixels = data.dataset("train").pixels(range(35)), whole.dataset("train").pixels(range(36))
        np.testing.assert_array_equal(pixels, all_pixels[1:])

    @pytest.mark.parametrize("how", [True, "exact", "near"])
    def test_the_protocol_says_so(self, leaky: Make, how: bool | str) -> None:
        data, whole = leaky(drop_leaked=how), leaky()
        kind = "exact, near or mirrored" if how == "near" else "exact"
        told = f"official, without the 1 training rows that have an {kind} copy in validation or test"
        assert data.protocol.split == told
        assert data.protocol.counts == {"train": 35, "val": 12, "test": 12}
        assert set(data.protocol.differences(whole.protocol)) == {"split", "counts", "fingerprint"}

    def test_a_carved_validation_shares_nothing_with_training(self, leaky: Make) -> None:
        lost = set()
        for seed in range(6):
            options = {"splits": ["train"] * 48 + ["test"] * 12, "split_seed": seed, "val_fraction": 0.4}
            data = leaky(**options, drop_leaked=True)
            assert not data.seen_in_training("val").any() and not data.seen_in_training("test").any()
            lost |= {f"row{row}" for row in range(60)} - set(data.frame["id"])
        assert lost == {"row0", "row37", "row3", "row4"}  # of 3 and 4 the one that is not drawn, in some draws

    def test_files_and_packed_find_the_same(self, leaky: Make) -> None:
        assert leaky(drop_leaked="near", store="files").protocol == leaky(drop_leaked="near").protocol

    def test_an_unknown_word_is_refused(self, make: Make) -> None:
        with pytest.raises(UserError, match=r"data\.drop_leaked must be one of .*exact, near for .*; got all"):
            make(drop_leaked="all")


class TestTargets:
    def test_distributions_are_for_training_alone(self, make: Make) -> None:
        data = ready(make(votes=True, spoilt=[1], on_bad_sample="skip"))
        expected = np.eye(3)[[label for row, label in enumerate(LABELS[:36]) if row != 1]] * 0.7 + 0.1
        np.testing.assert_allclose(data.dataset("train").targets.numpy(), expected, atol=1e-6)
        assert data.dataset("train").targets.dtype == torch.float32
        for split in ("val", "test"):
            assert data.dataset(split).targets.dtype == torch.int64
            assert data.dataset(split).targets.tolist() == LABELS[:12]


class TestLoaders:
    def test_batch(self, make: Make) -> None:
        image, target = next(iter(ready(make(channels=3, batch_size=5)).train_dataloader()))
        assert image.shape == (5, 3, 16, 16)
        assert target.shape == (5,)
        assert -2 <= image.min() < image.max() <= 2  # mean 0.5, deviation 0.25

    @pytest.mark.parametrize(("batch_size", "sizes"), [(8, [8] * 4), (36, [36]), (50, [36])])
    def test_incomplete_training_batch_is_dropped(self, make: Make, batch_size: int, sizes: list[int]) -> None:
        loader = ready(make(batch_size=batch_size)).train_dataloader()
        assert [len(target) for _, target in loader] == sizes
        assert len(loader) == len(sizes)

    def test_evaluation_keeps_every_row_in_order_and_as_it_is(self, make: Make) -> None:
        data = ready(make(transforms=moving(), sampler="balanced"))
        for loader, split in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
            images = torch.cat([image for image, _ in loader])
            raw = data.dataset(split).pixels(range(12)).transpose(0, 3, 1, 2)
            np.testing.assert_allclose(images.numpy(), (raw / 255 - 0.5) / 0.25, atol=1e-5)
            assert torch.cat([target for _, target in loader]).tolist() == LABELS[:12]

    def test_workers_change_nothing(self, make: Make) -> None:
        alone = list(ready(make(transforms=moving())).train_dataloader())
        shared = list(ready(make(transforms=moving(), num_workers=2)).train_dataloader())
        assert len(alone) == len(shared) == 9
        for one, other in zip(alone, shared):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    @pytest.mark.parametrize("votes", [False, True])
    def test_batches_from_the_training_device_are_those_of_the_packed_store(self, make: Make, votes: bool) -> None:
        options = {"transforms": BatchTransforms(p_light=0.5, p_noise=0.5, p_erase=0.5), "votes": votes, "channels": 3}
        packed, on_device = (ready(make(**options, store=store)) for store in ("packed", "device"))
        on_device.num_workers = 2  # a tensor on a GPU cannot be shared with workers
        for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
            first, second = getattr(packed, name)(), getattr(on_device, name)()
            assert isinstance(second.dataset.images, DeviceImages) and second.num_workers == 0
            for one, other in zip(first, second, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
        corruption = Augmentation(moving(), 0, 0)
        for one, other in zip(*(data.eval_dataloader("test", corruption) for data in (packed, on_device)), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        assert on_device.train_dataloader().dataset.images is on_device.test_dataloader().dataset.images

    def test_images_are_copied_to_a_gpu_where_they_fit(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """What fits is decided here; the copy itself needs a GPU."""
        data, gpu = ready(make(transforms=BatchTransforms())), torch.device("cuda")
        for free, fits in ((4 * 60 * 16 * 16, True), (4 * 60 * 16 * 16 - 1, False)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
            assert data._belongs_on(gpu) == fits
        assert not data._belongs_on(torch.device("cpu"))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
        assert not ready(make(transforms=moving()))._belongs_on(gpu)
        assert isinstance(data.train_dataloader().dataset.images, PackedImages)

    def test_the_device_does_not_augment_image_by_image(self, make: Make) -> None:
        with pytest.raises(UserError, match=r"data\.store=device augments on the device, .* use augment=light, strong"):
            make(transforms=moving(), store="device")

    def test_workers_do_not_wait_for_threads_that_a_fork_left_behind(self, make: Make) -> None:
        cv2.setNumThreads(2)
        for _ in range(5):
            cv2.warpAffine(np.ones((2000, 2000, 3), np.uint8), np.array([[1, 0.1, 3], [0.1, 1, 2]]), (2000, 2000))
        prepare = ready(make(num_workers=1)).train_dataloader().worker_init_fn
        worker = multiprocessing.get_context("fork").Process(target=prepare, args=(0,))
        worker.start()
        worker.join(20)
        worker.kill()
        assert worker.exitcode == 0

    def test_seed_changes_order_and_augmentation(self, make: Make) -> None:
        first, second = (ready(make(transforms=moving(), seed=seed)) for seed in (0, 1))
        orders = [data.train_dataloader().batch_sampler.indices.tolist() for data in (first, second)]  # type: ignore[union-attr]
        assert orders[0] != orders[1]
        rows = range(36)
        assert (first.dataset("train", 0).pixels(rows) != second.dataset("train", 0).pixels(rows)).any()

    @pytest.mark.parametrize("votes", [False, True])
    def test_balanced(self, make: Make, votes: bool) -> None:
        data = ready(make(labels=[0] * 30 + [1] * 3 + [2] * 27, votes=votes, sampler="balanced", batch_size=36))
        drawn = np.zeros(3)
        for epoch in range(10):
            data.trainer = Somewhere(epoch)  # type: ignore[assignment]
            target = next(iter(data.train_dataloader()))[1]
            drawn += np.bincount(target.argmax(dim=1) if votes else target, minlength=3)
        assert drawn.sum() == 360
        assert chisquare(drawn).pvalue > 0.001

    def test_processes_share_the_rows(self, make: Make) -> None:
        data = ready(make())
        seen: dict[str, list[int]] = {"train": [], "val": []}
        lengths = set()
        for rank in range(2):
            data.trainer = Somewhere(0, rank, 2)  # type: ignore[assignment]
            lengths.add(len(data.train_dataloader()))
            seen["train"] += data.train_dataloader().batch_sampler.indices.tolist()  # type: ignore[union-attr]
            seen["val"] += data.val_dataloader().batch_sampler.indices.tolist()  # type: ignore[union-attr]
        assert len(lengths) == 1
        assert sorted(seen["train"]) == list(range(36))
        assert sorted(seen["val"]) == list(range(12))


class Watcher(pl.LightningModule):
    """Remembers a hash of every training batch by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: dict[int, list[str]] = {}

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        content = batch[0].numpy().tobytes() + batch[1].numpy().tobytes()
        self.seen.setdefault(self.current_epoch, []).append(hashlib.sha256(content).hexdigest())
        return self.layer(batch[0].mean().view(1, 1)).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: Pixels, epochs: int, checkpoint: Path | None = None, reload: int = 1) -> tuple[Watcher, pl.Trainer]:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=reload,
        use_distributed_sampler=False,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    watcher = Watcher()
    trainer.fit(watcher, datamodule=data, ckpt_path=checkpoint)
    return watcher, trainer


@pytest.mark.filterwarnings("ignore")
class TestTrainer:
    def test_every_epoch_is_another_and_a_continued_run_is_the_same(self, make: Make, tmp_path: Path) -> None:
        self.check_continuation(make, tmp_path, moving())

    def test_so_with_batched_augmentation(self, make: Make, tmp_path: Path) -> None:
        self.check_continuation(make, tmp_path, BatchTransforms(mirror="alternating", p_noise=0.5))

    def check_continuation(self, make: Make, tmp_path: Path, transforms: object) -> None:
        whole, _ = fit(make(transforms=transforms), 4)
        assert [len(batches) for batches in whole.seen.values()] == [9] * 4
        assert len({batch for batches in whole.seen.values() for batch in batches}) == 36
        begun, trainer = fit(make(transforms=transforms), 2)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        continued, _ = fit(make(transforms=transforms), 4, tmp_path / "last.ckpt")
        assert {**begun.seen, **continued.seen} == whole.seen
        assert list(continued.seen) == [2, 3]

    def test_augmentation_alone_differs_between_epochs(self, make: Make) -> None:
        """The order of rows differs as well, so the images are compared row by row."""
        data = ready(make(transforms=moving()))
        first, second = (data.dataset("train", epoch).pixels(range(36)) for epoch in (0, 1))
        assert (first != second).any(axis=(1, 2, 3)).mean() > 0.9

    def test_a_plain_trainer_asks_for_each_epoch_too(self, make: Make) -> None:
        asked, _ = fit(make(transforms=moving()), 2)
        plain, _ = fit(make(transforms=moving()), 2, reload=0)
        assert plain.seen == asked.seen


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"split": "random"}, "data.split must be one of official, paper_70_30, "),
        ({"store": "ram"}, "data.store must be one of auto, device, packed, files for pixels; got ram."),
        ({"sampler": "fair"}, "data.sampler must be one of shuffle, balanced for pixels; got fair."),
        ({"channels": 4}, "data.channels must be one of 1, 3 for pixels; got 4."),
        ({"batch_size": 0}, "data.batch_size must be at least 1; got 0."),
        ({"image_size": 8}, "data.image_size must be at least 16; got 8."),
        ({"num_workers": -1}, "data.num_workers must be at least 0; got -1."),
        ({"split_seed": -1}, "data.split_seed must be at least 0; got -1."),
        ({"mean": [0.5, 0.5, 0.5]}, "data.mean must have one value, or data.channels=1; got"),
        ({"std": [0.5, 0.5], "channels": 3}, "data.std must have one value, or data.channels=3; got"),
        ({"std": [0.0]}, "must be above 0"),
    ],
    ids=str,
)
def test_options_are_checked_before_anything_is_read(make: Make, options: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as caught:
        make(**options)
    assert told in str(caught.value)


@pytest.mark.filterwarnings("ignore:Argument")
def test_misspelt_transform_is_refused_before_anything_is_read(make: Make) -> None:
    with pytest.raises(UserError, match="'rotation' are not valid for transform Affine"):
        make(transforms=[albumentations.Affine(rotation=(-9, 9))])
