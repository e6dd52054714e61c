from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import albumentations
import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import chi2_contingency, chisquare

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "augment").glob("*.yaml"))


def transforms_of(config: Path, **options: float) -> list[albumentations.BasicTransform]:
    """The transforms of a file in which options of its own are changed."""
    node = OmegaConf.create({"augment": OmegaConf.merge(OmegaConf.load(config), options)})
    return instantiate(node.augment.transforms, _convert_="all")


HAFEM = CONFIGS[0].with_name("hafem.yaml")
STAGES = [name for name in OmegaConf.load(HAFEM) if name.startswith("p_")]


def strong() -> list[albumentations.BasicTransform]:
    return [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Affine(rotate=(-20, 20), scale=(0.8, 1.2), translate_percent=(-0.12, 0.12), p=0.9),
        albumentations.RandomBrightnessContrast(p=0.5),
        albumentations.GaussNoise(std_range=(0.01, 0.05), p=0.2),
        albumentations.CoarseDropout(num_holes_range=(1, 1), fill="random_uniform", p=0.5),
    ]


def discs(count: int, size: int, channels: int) -> np.ndarray:
    """Grey discs on a grey ground, `(count, size, size, channels)`."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    disc = np.where(np.hypot(x, y) < 0.35, 170, 90) + 20 * x
    return np.repeat(disc[None, :, :, None], count, axis=0).repeat(channels, axis=3).astype(np.uint8)


@pytest.mark.parametrize("name", ["hafem", "none"])
@pytest.mark.parametrize(("size", "channels"), [(48, 1), (64, 3)])
def test_every_config_keeps_shape_and_type(name: str, size: int, channels: int) -> None:
    images = discs(40, size, channels)
    augmented = Augmentation(transforms_of(HAFEM.with_stem(name)), seed=0, epoch=0)(images, np.arange(40))
    assert augmented.shape == images.shape
    assert augmented.dtype == np.uint8
    assert (augmented == images).all() == (name == "none")


def test_there_are_configs() -> None:
    assert [path.stem for path in CONFIGS] == ["hafem", "light", "none", "strong"]


def test_images_given_are_left_as_they_are() -> None:
    images = discs(20, 48, 1)
    Augmentation(strong(), 0, 0)(images, np.arange(20))
    np.testing.assert_array_equal(images, discs(20, 48, 1))


def test_leaves_something_to_see() -> None:
    images = discs(600, 48, 1)
    augmented = Augmentation(transforms_of(HAFEM), 0, 0)(images, np.arange(600))
    saturated = ((augmented == 0) | (augmented == 255)).mean(axis=(1, 2, 3))
    assert saturated.max() < 0.4
    assert augmented.std(axis=(1, 2, 3)).min() > 10
    assert abs(augmented.mean() - images.mean()) < 10


class TestStagesOfHafem:
    off = dict.fromkeys(STAGES, 0)

    def test_are_seven_and_each_has_one_place(self) -> None:
        assert len(STAGES) == len(transforms_of(HAFEM)) == 7
        for place, stage in enumerate(STAGES):
            chances = [transform.p for transform in transforms_of(HAFEM, **{**self.off, stage: 1})]
            assert chances == [float(place == other) for other in range(7)]

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("stage", STAGES)
    def test_each_changes_images_alone(self, stage: str, channels: int) -> None:
        images = discs(40, 48, channels)
        augmented = Augmentation(transforms_of(HAFEM, **{**self.off, stage: 1}), 0, 0)(images, np.arange(40))
        assert (augmented != images).any(axis=(1, 2, 3)).mean() > 0.8

    @pytest.mark.parametrize("channels", [1, 3])
    def test_none_is_left_when_all_are_off(self, channels: int) -> None:
        images = discs(40, 48, channels)
        np.testing.assert_array_equal(
            Augmentation(transforms_of(HAFEM, **self.off), 0, 0)(images, np.arange(40)), images
        )

    @pytest.mark.parametrize(("size", "channels"), [(48, 1), (64, 3), (224, 1), (224, 3)])
    def test_every_transform_fits_grey_and_colour(self, size: int, channels: int) -> None:
        """Also those that a draw of one among several seldom reaches."""
        images = discs(20, size, channels)
        stages = [getattr(stage, "transforms", [stage]) for stage in transforms_of(HAFEM)]
        for transform in [transform for stage in stages for transform in stage]:
            transform.p = 1
            augmented = Augmentation([transform], 0, 0)(images, np.arange(20))
            assert (augmented != images).any(axis=(1, 2, 3)).mean() > 0.5, type(transform).__name__

    def test_can_be_tracked(self) -> None:
        images = discs(60, 48, 1)
        augmentation = Augmentation(transforms_of(HAFEM), 0, 0)
        augmented, mirrored = augmentation.track_mirroring(images, np.arange(60))
        np.testing.assert_array_equal(augmented, augmentation(images, np.arange(60)))
        assert 15 < mirrored.sum() < 45

    def test_draws_are_repeated(self) -> None:
        images = discs(40, 48, 1)
        first = Augmentation(transforms_of(HAFEM), 1, 2)(images, np.arange(40))
        np.testing.assert_array_equal(first, Augmentation(transforms_of(HAFEM), 1, 2)(images, np.arange(40)))
        assert (first != Augmentation(transforms_of(HAFEM), 1, 3)(images, np.arange(40))).any()


class TestDraws:
    images = np.random.default_rng(0).integers(0, 256, (64, 24, 24, 1), dtype=np.uint8)
    rows = np.random.default_rng(1).permutation(1000)[:64]

    def test_depend_on_the_row_and_not_on_the_batch(self) -> None:
        whole = Augmentation(strong(), 3, 5)(self.images, self.rows)
        other = Augmentation(strong(), 3, 5)
        for place in np.random.default_rng(2).permutation(64):
            alone = other(self.images[place : place + 1], self.rows[place : place + 1])
            np.testing.assert_array_equal(alone[0], whole[place])

    @pytest.mark.parametrize(("seed", "epoch"), [(3, 6), (4, 5), (5, 3)])
    def test_differ_between_epochs_and_seeds(self, seed: int, epoch: int) -> None:
        first = Augmentation(strong(), 3, 5)(self.images, self.rows)
        second = Augmentation(strong(), seed, epoch)(self.images, self.rows)
        assert (first != second).any(axis=(1, 2, 3)).mean() > 0.95

    def test_differ_between_rows(self) -> None:
        same = np.repeat(self.images[:1], 64, axis=0)
        assert len({image.tobytes() for image in Augmentation(strong(), 0, 0)(same, self.rows)}) > 60

    def test_ignore_global_random_state(self) -> None:
        first = Augmentation(strong(), 0, 0)(self.images, self.rows)
        np.random.seed(1)  # noqa: NPY002 - the draws must not depend on global state
        np.testing.assert_array_equal(first, Augmentation(strong(), 0, 0)(self.images, self.rows))

    @pytest.mark.slow
    def test_are_the_same_in_a_new_process(self) -> None:
        program = (
            "import numpy, albumentations, sys; from fer_lightning.data.augmentation import Augmentation;"
            "images = numpy.random.default_rng(0).integers(0, 256, (8, 24, 24, 1), dtype=numpy.uint8);"
            "pipeline = [albumentations.Affine(rotate=(-20, 20), p=0.9), albumentations.GaussNoise(p=0.5)];"
            "sys.stdout.buffer.write(Augmentation(pipeline, 1, 2)(images, numpy.arange(8)).tobytes())"
        )
        there = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=120).stdout
        images = np.random.default_rng(0).integers(0, 256, (8, 24, 24, 1), dtype=np.uint8)
        pipeline = [albumentations.Affine(rotate=(-20, 20), p=0.9), albumentations.GaussNoise(p=0.5)]
        assert there == Augmentation(pipeline, 1, 2)(images, np.arange(8)).tobytes()

    def test_are_uniform_and_independent_between_transforms(self) -> None:
        """Transforms that share one seed would all apply to the same images."""
        image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
        flips = [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
        augmented = Augmentation(flips, 0, 0)(np.repeat(image, 800, axis=0), np.arange(800))
        corner = augmented[:, 0, 0, 0]
        table = [[(corner == 0).sum(), (corner == 3).sum()], [(corner == 12).sum(), (corner == 15).sum()]]
        assert np.sum(table) == 800
        assert chi2_contingency(table).pvalue > 0.001
        assert chisquare(np.ravel(table)).pvalue > 0.001


@pytest.mark.filterwarnings("ignore:Argument")
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: albumentations.HorizontalFlip(probability=0.5), "Argument.*'probability' are not valid"),
        (lambda: albumentations.Affine(rotation=(-9, 9)), "Argument.*'rotation' are not valid for transform Affine"),
        (lambda: albumentations.OneOf([albumentations.GaussNoise(sigma=3)]), "Argument.*'sigma' are not valid"),
    ],
)
def test_misspelt_argument_is_refused(make: object, told: str) -> None:
    with pytest.raises(UserError, match=f"augment: {told}"):
        Augmentation([make()], 0, 0)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("transform", "told"),
    [
        (albumentations.CenterCrop(16, 16), r"they turn uint8 \(24, 24, 1\) into uint8 \(16, 16, 1\)"),
        (albumentations.ToFloat(), "into float32"),
        (albumentations.ToRGB(), r"\(24, 24, 3\)"),
    ],
)
def test_transforms_that_change_size_or_type_are_refused(transform: albumentations.BasicTransform, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Augmentation([transform], 0, 0)(np.zeros((1, 24, 24, 1), np.uint8), np.arange(1))


@pytest.mark.parametrize("flips", [albumentations.HorizontalFlip, albumentations.VerticalFlip])
def test_tracking_tells_which_images_are_mirrored(flips) -> None:
    pipeline = [albumentations.Affine(rotate=(-60, 60), scale=(0.7, 1.2), p=1), flips(p=0.5)]
    images = discs(60, 48, 1)
    augmentation = Augmentation(pipeline, seed=0, epoch=0)
    augmented, mirrored = augmentation.track_mirroring(images, np.arange(60))
    plain, unmirrored = Augmentation(pipeline[:1], 0, 0).track_mirroring(images, np.arange(60))

    turn = (slice(None), slice(None, None, -1)) if flips is albumentations.HorizontalFlip else (slice(None, None, -1),)
    expected = [(a == p[turn]).all() for a, p in zip(augmented, plain)]
    assert mirrored.tolist() == expected
    assert 15 < mirrored.sum() < 45 and not unmirrored.any()
    np.testing.assert_array_equal(augmented, augmentation(images, np.arange(60)))
