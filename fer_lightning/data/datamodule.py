"""Base data module of all data sets: from the rows of the files to batches under a named protocol."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import albumentations
import cv2
import numpy as np
import pandas as pd
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from fer_lightning.data.alignment.detection import detect_landmarks, landmarks_key
from fer_lightning.data.alignment.landmarker import find_model_file
from fer_lightning.data.alignment.warp import AlignedReader
from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.auxiliary import SIDE_SIZES, SideVectors, side_vectors
from fer_lightning.data.batch_transforms import BatchAugmentation, BatchTransforms
from fer_lightning.data.dataset import (
    DeviceImages,
    EpochBatches,
    ExpressionDataset,
    OrderedBatches,
    balancing_weights,
    with_affect,
)
from fer_lightning.data.duplicates.index import Copies
from fer_lightning.data.labels import ClassGroups, LabelSet
from fer_lightning.data.samples import SPLITS, ImageReader, Samples, refuse_or_skip
from fer_lightning.data.splits import SplitPlan, plan_splits
from fer_lightning.data.store import Images, LazyImages, available_cores, cache_key, find_undecodable, pack
from fer_lightning.errors import UserError
from fer_lightning.files import default_cache
from fer_lightning.results.protocol import Protocol

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class ExpressionDataModule(LightningDataModule):
    """Base class of all data sets, which add `scan` and their options.

    Attributes:
        root: Folder or file of the data set.
        image_size: Height and width of the images in pixels.
        channels: Number of channels, 1 for grey, 3 for RGB.
        mean: Mean of pixel values in 0..1 for normalisation, one value or one per channel.
        std: Standard deviation of pixel values in 0..1 for normalisation, one value or one per channel.
        batch_size: Images per batch and process.
        num_workers: Number of processes that load data; 0 loads in the training process.
        split: Split policy, one of `policies`.
        val_fraction: Share of training rows carved as validation where the release has none.
        split_seed: Seed of the splits, separate from the seed of the run so that all runs share one protocol.
        fold: Index of the fold that is the test split, for `split=subject_kfold`.
        seed: Seed of the order of training and of augmentation.
        store: `"packed"` decodes once into a memory-mapped file; `"device"` also copies that into one tensor on the
            training device, which needs no workers; `"files"` decodes on every access. `"auto"` is `"device"` on a GPU
            that has four times the memory free, unless `transforms` are albumentations, and otherwise `"packed"`.
        cache_dir: Folder of packed stores.
        on_bad_sample: Handling of bad rows, `"raise"` or `"skip"`.
        sampler: `"shuffle"`, or `"balanced"` to draw every class equally often.
        align: Align every face to one template by its landmarks.
        side: Auxiliary input of the network: `"none"`, `"landmarks"` or `"blendshapes"`.
        landmark_model: Path of MediaPipe's face_landmarker.task; None searches for it.
        align_workers: Number of processes that detect landmarks; None for one per core.
        transforms: Augmentation of training images: `BatchTransforms`, or a list of albumentations transforms.
        train_images: Number of training images, of each class equally many as far as there are; None for all.
        drop_leaked: Drop training rows that have a copy in validation or test: `"exact"` (or True) for those equal
            pixel for pixel, `"near"` also for near and mirrored ones (see `duplicates.near`). Evaluation rows stay.
        groups: Groups that replace the classes, see `ClassGroups.of`: `"valence3"` (negative, neutral, positive), or
            the classes of each group by its name; None for the classes themselves.
        copies: Index of the copies among the rows, set by `setup`.
    """

    dataset_name: ClassVar[str]
    policies: ClassVar[tuple[str, ...]] = ("official", "paper_70_30")

    root: str | None
    image_size: int = 48
    channels: int = 1
    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.25,)
    batch_size: int = 64
    num_workers: int = 0
    split: str = "official"
    val_fraction: float = 0.1
    split_seed: int = 0
    fold: int = 0
    seed: int = 0
    store: str = "auto"
    cache_dir: str = field(default_factory=default_cache)
    on_bad_sample: str = "raise"
    sampler: str = "shuffle"
    align: bool = False
    side: str = "none"
    landmark_model: str | None = None
    align_workers: int | None = None
    transforms: BatchTransforms | Sequence[albumentations.BasicTransform] = ()
    drop_leaked: bool | str = False
    train_images: int | None = None
    groups: str | Mapping[str, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self._ready = False
        self._device_images: DeviceImages | None = None
        self._check("split", self.split, self.policies)
        self._check("store", self.store, ("auto", "device", "packed", "files"))
        self._check("sampler", self.sampler, ("shuffle", "balanced"))
        self._check("channels", self.channels, (1, 3))
        self._check("align", self.align, (True, False))
        self._check("side", self.side, ("none", *SIDE_SIZES))
        self._check("drop_leaked", self.drop_leaked, (False, True, "exact", "near"))
        for option in ("mean", "std"):
            if len(getattr(self, option)) not in (1, self.channels):
                raise UserError(
                    f"data.{option} must have one value, or data.channels={self.channels}; got {getattr(self, option)}."
                )
        for option, default in (("align_workers", "one per core"), ("train_images", "all")):
            if (value := getattr(self, option)) is not None and value < 1:
                raise UserError(f"data.{option} must be at least 1, or null for {default}; got {value}.")
        least = {"batch_size": 1, "image_size": 16, "num_workers": 0, "seed": 0, "split_seed": 0}
        for option, value in least.items():
            if getattr(self, option) < value:
                raise UserError(f"data.{option} must be at least {value}; got {getattr(self, option)}.")
        if min(self.std) <= 0:
            raise UserError(f"data.std must be above 0; got {self.std}.")
        if not isinstance(self.transforms, BatchTransforms):
            Augmentation(self.transforms, self.seed, epoch=0)  # raises for misspelt arguments before any data is read
            if self.store == "device" and self.transforms:
                raise UserError(
                    "data.store=device augments on the device, which albumentations cannot: use augment=light, strong "
                    "or none, or data.store=packed."
                )

    def _check(self, option: str, value: object, accepted: tuple[object, ...]) -> None:
        if value not in accepted:
            values = ", ".join(map(str, accepted))
            raise UserError(f"data.{option} must be one of {values} for {self.dataset_name}; got {value}.")

    @abstractmethod
    def scan(self) -> Samples:
        """Reads labels and locations of all rows under `root` without decoding pixels.

        Raises:
            UserError: No known layout was found, or a row is bad and `on_bad_sample` is `"raise"`.
        """

    def plan(self, frame: pd.DataFrame) -> SplitPlan:
        """Split of each row of `Samples.frame`; data sets with further policies extend it."""
        return plan_splits(frame, self.split, self.val_fraction, self.split_seed, self.fold)

    def setup(self, stage: str | None = None) -> None:
        """Scans, packs and splits the data; does nothing the second time."""
        if self._ready:
            return
        samples = self.scan()
        if self.groups:
            samples = samples.grouped(ClassGroups.of(self.groups, samples.label_set.classes))
        if samples.frame.empty:
            raise UserError(f"data.root={self.root} must hold at least one usable image; none was found.")
        content_key = samples.reader.content_key()
        ids = samples.frame["id"]
        self._side: SideVectors | None = None
        reader = self._with_landmarks(samples.reader, ids, content_key)
        # A content key costs a pass over all data: computed once for images that are not aligned.
        shown_key = content_key if reader is samples.reader else reader.content_key()
        folder = self._store_folder(reader, ids, shown_key)
        self._images, undecodable = self._open_images(reader, folder)
        self.bad = samples.bad + refuse_or_skip(list(undecodable.values()), self.on_bad_sample)
        usable = np.setdiff1d(np.arange(len(samples.frame)), list(undecodable))
        frame = samples.frame.iloc[usable].reset_index(drop=True)
        if frame.empty:
            raise UserError(f"data.root={self.root}: none of {len(samples.frame)} images can be decoded.")
        plan = self.plan(frame)
        self.samples = samples
        self.frame = frame.assign(split=plan.names, row=usable)
        self.copies = Copies(self._images, usable, folder)
        if self.drop_leaked:
            plan = self._drop_leaked(plan)
        if self.train_images is not None:
            plan = self._limit_training(plan, self.train_images)
        self._targets = {split: self._targets_of(split) for split in SPLITS}
        self._check_presence()
        self.protocol = self._name_protocol(plan, content_key)
        for note in samples.notes:
            log.warning("%s: %s", self.dataset_name, note)
        if self.bad:
            log.warning("%s: %d bad rows left out, the first: %s", self.dataset_name, len(self.bad), self.bad[0])
        if not (table := samples.unexpected_counts()).empty:
            log.warning("%s differs from its official release:", self.dataset_name)
            for line in table.to_string(index=False).splitlines():
                log.warning("%s", line)
        self._ready = True

    def _with_landmarks(self, reader: ImageReader, ids: pd.Series, content_key: str) -> ImageReader:
        """Reader of the training images, after detection of landmarks where an option needs them."""
        if not self.align and self.side == "none":
            return reader
        cache = Path(self.cache_dir).expanduser()
        key = landmarks_key(content_key, reader.local_key(), ids)
        self.landmarks = detect_landmarks(
            reader,
            ids,
            cache / f"{self.dataset_name}-landmarks-{key}",
            lambda: find_model_file(self.landmark_model, cache),
            available_cores() if self.align_workers is None else self.align_workers,
            self.on_bad_sample,
        )
        if self.side != "none":
            self._side = side_vectors(self.landmarks, self.side)
        return AlignedReader(reader, self.landmarks, self.image_size) if self.align else reader

    def _store_folder(self, reader: ImageReader, ids: pd.Series, content_key: str) -> Path:
        key = cache_key(content_key, reader.local_key(), ids, self.image_size, self.channels)
        return Path(self.cache_dir).expanduser() / f"{self.dataset_name}-{self.image_size}px{self.channels}-{key}"

    def _open_images(self, reader: ImageReader, folder: Path) -> tuple[Images, dict[int, str]]:
        if self.store != "files":
            return pack(reader, folder, self.image_size, self.channels)
        lazy = LazyImages(reader, self.image_size, self.channels)
        if self.on_bad_sample == "raise":
            return lazy, {}
        return lazy, find_undecodable(reader, folder.with_name(f"{folder.name}-undecodable"))

    def _drop_leaked(self, plan: SplitPlan) -> SplitPlan:
        """Drops leaked rows from training and returns the plan with a description that says so."""
        trained = (self.frame["split"] == "train").to_numpy()
        rows = self.frame["row"].to_numpy()
        leaked = trained & self.copies.present(rows, rows[~trained], near=self.drop_leaked == "near")
        self.frame = self.frame[~leaked].reset_index(drop=True)
        kind = "exact, near or mirrored" if self.drop_leaked == "near" else "exact"
        dropped = f"without the {leaked.sum()} training rows that have an {kind} copy in validation or test"
        return replace(plan, split=f"{plan.split}, {dropped}")

    def _limit_training(self, plan: SplitPlan, count: int) -> SplitPlan:
        """Keeps so many training rows and returns the plan with a description that says so."""
        trained = self.frame["split"] == "train"
        number = self.frame[trained].groupby("label").cumcount()  # within the class
        kept = number.sort_values(kind="stable").index[:count]
        self.frame = self.frame[~trained | self.frame.index.isin(kept)].reset_index(drop=True)
        return replace(plan, split=f"{plan.split}, {len(kept)} of the training rows")

    def seen_in_training(self, split: str) -> np.ndarray:
        """Mask `(N,)` of the rows of a split, in the order of `ids`, that have an exact copy in training."""
        rows = self.frame["row"].to_numpy()
        of_split, of_train = ((self.frame["split"] == name).to_numpy() for name in (split, "train"))
        return self.copies.present(rows[of_split], rows[of_train], near=False)

    def _targets_of(self, split: str) -> np.ndarray:
        """Class indices, or label distributions where the label rule gives them; evaluation scores single labels."""
        chosen = self.frame[self.frame["split"] == split]
        if split == "train" and self.samples.distributions is not None:
            return self.samples.distributions[chosen["row"]]
        return np.array(chosen["label"], np.int64)

    def add_teacher(self, probabilities: np.ndarray) -> None:
        """Makes training targets of the labels and a teacher's probabilities `(N, K)`: `(N, 2, K)` float32."""
        labels = self._targets_of("train")
        distributions = np.eye(len(self.label_set))[labels] if labels.ndim == 1 else labels
        self._targets["train"] = np.stack([distributions, probabilities], axis=1).astype(np.float32)

    def _check_presence(self) -> None:
        for split in SPLITS:
            if not (self.frame["split"] == split).any():
                raise UserError(f"data.split={self.split}: the {split} split must have an image; it is empty.")
        counts = self.class_counts("train")
        empty = [name for name, count in zip(self.label_set.classes, counts) if not count]
        messages = [f"data.root={self.root}: class {name} has no training image" for name in empty]
        for message in refuse_or_skip(messages, self.on_bad_sample):
            log.warning(message)

    def _name_protocol(self, plan: SplitPlan, content_key: str) -> Protocol:
        digest = hashlib.sha256(content_key.encode())
        for row in self.frame[["id", "label", "split"]].itertuples(index=False):
            digest.update(f"{row.id}:{row.label}:{row.split}\n".encode())
        if self.samples.distributions is not None:
            digest.update(np.ascontiguousarray(self.samples.distributions).tobytes())
        return Protocol(
            dataset=self.dataset_name,
            release=self.samples.release,
            classes=self.label_set.classes,
            label_rule=self.samples.label_rule,
            split=plan.split,
            selection=plan.selection,
            test=plan.test,
            counts={split: int((self.frame["split"] == split).sum()) for split in SPLITS},
            fingerprint=digest.hexdigest()[:16],
        )

    @property
    def label_set(self) -> LabelSet:
        """The classes, in the order of the logits."""
        return self.samples.label_set

    def class_counts(self, split: str) -> list[int]:
        """Images of each class in a split."""
        labels = self.frame.loc[self.frame["split"] == split, "label"]
        return np.bincount(labels, minlength=len(self.label_set)).tolist()

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Images uint8 `(N, H, W, C)` of rows of the store (column `row` of `frame`), of whatever split."""
        return self._images.batch(rows)

    def ids(self, split: str) -> np.ndarray:
        """Row ids of a split, in the order in which its loader yields them."""
        return self.frame.loc[self.frame["split"] == split, "id"].to_numpy()

    def dataset(
        self,
        split: str,
        epoch: int | None = None,
        corruption: Augmentation | None = None,
        images: Images | None = None,
    ) -> ExpressionDataset:
        """Images and targets of a split, optionally corrupted, or augmented for `epoch`; by default from the store."""
        chosen, images = self.frame["split"] == split, images or self._images
        augmentation: Augmentation | BatchAugmentation | None = corruption
        if epoch is not None:
            if isinstance(self.transforms, BatchTransforms):
                device = images.tensor.device if isinstance(images, DeviceImages) else "cpu"
                augmentation = self.transforms.epoch(self.seed, epoch, len(self.samples.frame), device)
            elif self.transforms:
                augmentation = Augmentation(self.transforms, self.seed, epoch)
        rows = self.frame.loc[chosen, "row"].to_numpy()
        return ExpressionDataset(images, rows, self._targets[split], augmentation, self.mean, self.std, self._side)

    def _training_images(self) -> Images:
        """The store, or its copy on the training device where `store` says so."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if self._device_images is not None and self._device_images.tensor.device == device:
            return self._device_images
        if self.store != "device" and not (self.store == "auto" and self._belongs_on(device)):
            return self._images
        self._device_images = DeviceImages(self._images, len(self.samples.frame), device)
        return self._device_images

    def _belongs_on(self, device: torch.device) -> bool:
        """Whether `store=auto` copies the images to a device: to a GPU that has four times the memory free."""
        if device.type != "cuda" or (self.transforms and not isinstance(self.transforms, BatchTransforms)):
            return False
        size = len(self.samples.frame) * self.image_size**2 * self.channels
        return 4 * size <= torch.cuda.mem_get_info(device)[0]

    def train_dataloader(self) -> DataLoader:
        """Loader of the trainer's current epoch; makes the trainer request a new one every epoch."""
        if self.trainer:  # otherwise every epoch would have the same order and augmentation
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
        epoch = self.trainer.current_epoch if self.trainer else 0
        rank, world_size = self._place()
        weights = None
        if self.sampler == "balanced":
            weights = balancing_weights(self.frame.loc[self.frame["split"] == "train", "label"].to_numpy())
        dataset = self.dataset("train", epoch, images=self._training_images())
        batches = EpochBatches(len(dataset), self.batch_size, self.seed, epoch, weights, rank, world_size)
        return with_affect(self._loader(dataset, batches), self.frame, "train")

    def val_dataloader(self) -> DataLoader:
        return with_affect(self.eval_dataloader("val"), self.frame, "val")

    def test_dataloader(self) -> DataLoader:
        return with_affect(self.eval_dataloader("test"), self.frame, "test")

    def eval_dataloader(self, split: str, corruption: Augmentation | None = None) -> DataLoader:
        """Loader of a split in order, without augmentation, optionally corrupted."""
        dataset = self.dataset(split, corruption=corruption, images=self._training_images())
        return self._loader(dataset, OrderedBatches(len(dataset), max(self.batch_size, 128), *self._place()))

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: ExpressionDataset, batches: EpochBatches | OrderedBatches) -> DataLoader:
        on_device = isinstance(dataset.images, DeviceImages)
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=0 if on_device else self.num_workers,
            collate_fn=_already_a_batch,
            worker_init_fn=_without_threads,
            pin_memory=torch.cuda.is_available() and not on_device,
        )


def _without_threads(worker: int) -> None:
    # Torch limits its threads in workers, but each worker's OpenCV would use all cores. 0, because 1 would wait forever
    # for threads of the parent to end, which a fork does not copy.
    cv2.setNumThreads(0)


def _already_a_batch(batch: Any) -> Any:
    return batch
