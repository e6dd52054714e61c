"""Batched augmentation against OpenCV pixel by pixel, and against albumentations by distribution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import albumentations
import cv2
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, pearsonr

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.batch_transforms import BatchAugmentation, BatchTransforms
from fer_lightning.errors import UserError

STILL = {"mirror": "none", "p_geometry": 0.0}
STRONG = {
    **{"rotate": 20.0, "scale": (0.8, 1.2), "shear": 8.0, "translate": 0.1},
    **{"p_light": 0.5, "p_noise": 0.2, "p_erase": 0.5},
}


def smooth(count: int, size: int = 48, channels: int = 1) -> np.ndarray:
    """Images in which a wrong position shows and interpolation does not, uint8 `(count, size, size, channels)`."""
    noise = np.random.default_rng(0).normal(size=(count, size, size, channels))
    images = np.stack([cv2.GaussianBlur(image, (0, 0), 4).reshape(size, size, channels) for image in noise])
    low, high = images.min(), images.max()
    return ((images - low) / (high - low) * 255).astype(np.uint8)


def augment(images: np.ndarray, rows: Sequence[int] | None = None, seed: int = 0, epoch: int = 0, **options: object):
    """Augmented images `(B, H, W, C)` and the augmentation."""
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    augmentation = BatchTransforms(**options).epoch(seed, epoch, int(rows.max()) + 1)
    result = augmentation(torch.from_numpy(images), torch.from_numpy(rows))
    return result.permute(0, 2, 3, 1).numpy(), augmentation


def drawn(augmentation: BatchAugmentation, rows: int, *places: int) -> np.ndarray:
    return augmentation.draws[:rows, list(places)].numpy().astype(float)


class TestGeometry:
    @pytest.mark.parametrize(("border", "of_opencv"), [("edge", cv2.BORDER_REPLICATE), ("reflect", cv2.BORDER_REFLECT)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_is_that_of_opencv(self, border: str, of_opencv: int, channels: int) -> None:
        images = smooth(40, channels=channels)
        augmented, augmentation = augment(
            images, border=border, p_geometry=1.0, rotate=30.0, scale=(0.7, 1.3), shear=12.0, translate=0.15
        )
        draws = drawn(augmentation, 40, *range(9))
        for image, result, (mirror, _, rotate, wide, high, shear_x, shear_y, x, y) in zip(images, augmented, draws):
            angle, tan_x, tan_y = (np.radians(most * (2 * draw - 1)) for most, draw in
                                   ((30, rotate), (12, shear_x), (12, shear_y)))  # fmt: skip
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            shear = np.array([[1, np.tan(tan_x)], [np.tan(tan_y), 1]])
            matrix = turn @ shear @ np.diag([0.7 + 0.6 * wide, 0.7 + 0.6 * high])
            if mirror < 0.5:
                matrix = matrix @ np.diag([-1, 1])
            centre = np.full(2, 23.5)
            shift = centre - matrix @ centre + 48 * 0.15 * (2 * np.array([x, y]) - 1)
            reference = cv2.warpAffine(
                image.astype(np.float32), np.column_stack([matrix, shift]), (48, 48), borderMode=of_opencv
            )
            # OpenCV rounds positions to 1/32 pixel.
            assert np.abs(result - reference.reshape(result.shape)).max() < 4
            assert np.abs(result - reference.reshape(result.shape)).mean() < 0.5

    def test_without_any_images_stay(self) -> None:
        images = smooth(6, channels=3)
        np.testing.assert_allclose(augment(images, **STILL)[0], images, atol=0.01)

    def test_images_that_are_only_mirrored_keep_their_pixels(self) -> None:
        images = np.random.default_rng(0).integers(0, 256, (60, 20, 20, 1), dtype=np.uint8)
        augmented, augmentation = augment(images, mirror="random", p_geometry=0.0)
        mirrored = augmentation.mirrored(torch.arange(60)).numpy()
        assert 15 < mirrored.sum() < 45
        np.testing.assert_allclose(augmented[mirrored], images[mirrored, :, ::-1], atol=0.01)
        np.testing.assert_allclose(augmented[~mirrored], images[~mirrored], atol=0.01)

    def test_alternating_mirrors_the_other_half_in_the_next_epoch(self) -> None:
        transforms, rows = BatchTransforms(mirror="alternating"), torch.arange(200)
        by_epoch = [transforms.epoch(seed=3, epoch=epoch, count=200).mirrored(rows) for epoch in range(4)]
        assert 70 < by_epoch[0].sum() < 130
        for before, after in pairwise(by_epoch):
            assert (before != after).all()

    @pytest.mark.parametrize("name", ["light", "strong"])
    def test_is_distributed_as_in_albumentations(self, name: str) -> None:
        """By where three points of an image come from, of which a ramp in x and one in y tell."""
        share, most, least, shear = (0.06, 10, 0.9, 0) if name == "light" else (0.1, 20, 0.8, 8)
        affine = albumentations.Affine(
            rotate=(-most, most),
            scale=(least, 2 - least),
            translate_percent=(-share, share),
            shear=(-shear, shear),
            border_mode=cv2.BORDER_REPLICATE,
            p=0.9,
        )
        # Large, because albumentations cuts translations off to whole pixels.
        ramp = np.arange(200, dtype=np.uint8)
        image = np.stack([np.tile(ramp, (200, 1)), np.tile(ramp[:, None], (1, 200)), np.zeros((200, 200), np.uint8)], 2)
        images = np.repeat(image[None], 400, axis=0)
        reference = Augmentation([albumentations.HorizontalFlip(p=0.5), affine], 0, 0)(images, np.arange(400))
        options = {name: STRONG[name] for name in ("rotate", "scale", "shear", "translate")} if name == "strong" else {}
        augmented, _ = augment(images, **options)
        for y, x in ((100, 100), (70, 100), (100, 140)):
            for channel in (0, 1):
                own, other = augmented[:, y, x, channel], reference[:, y, x, channel]
                jitter = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 400))
                assert ks_2samp(own.round() + jitter[0], other + jitter[1]).pvalue > 0.001, (y, x, channel)


@pytest.mark.parametrize(("share", "former"), [(0.06, 0.08), (0.1, 0.12)], ids=["light", "strong"])
def test_faces_of_48_pixels_move_as_far_as_they_did_image_by_image(share, former):
    """With the shares of former versions, albumentations moved by whole pixels, cut off towards zero."""
    ramp = np.tile(np.arange(48, dtype=np.uint8)[:, None] * 5, (4000, 48, 1, 1)).transpose(0, 2, 1, 3)
    affine = albumentations.Affine(translate_percent=(-former, former), border_mode=cv2.BORDER_REPLICATE, p=1.0)
    before = Augmentation([affine], 0, 0)(ramp, np.arange(4000))[:, 24, 24, 0] / 5 - 24.0
    still = {"mirror": "none", "p_geometry": 1.0, "rotate": 0.0, "scale": (1.0, 1.0)}
    now = augment(ramp, **still, translate=share)[0][:, 24, 24, 0] / 5 - 24
    assert set(before % 1) == {0}
    assert np.abs(now).max() > 0.95 * share * 48
    assert np.abs(now).mean() == pytest.approx(np.abs(before).mean(), rel=0.05)


class TestLight:
    def test_is_the_formula_of_albumentations(self) -> None:
        images = smooth(300)
        augmented, augmentation = augment(images, **STILL, p_light=0.5, brightness=0.3, contrast=0.2)
        lit, brightness, contrast = drawn(augmentation, 300, 9, 10, 11).T
        transform = albumentations.RandomBrightnessContrast(brightness_by_max=False, p=1)
        for image, result, chosen, *draws in zip(images, augmented, lit < 0.5, brightness, contrast):
            beta, alpha = 0.3 * (2 * draws[0] - 1), 1 + 0.2 * (2 * draws[1] - 1)
            reference = transform.apply(image, alpha=alpha, beta=beta * image.mean()) if chosen else image
            assert np.abs(result - reference.reshape(result.shape)).max() < 1.01
        assert 110 < (lit < 0.5).sum() < 190


class TestNoise:
    images = np.full((400, 32, 32, 3), 128, np.uint8)

    def test_has_the_share_and_the_deviation_it_is_asked_for(self) -> None:
        augmented, augmentation = augment(self.images, **STILL, p_noise=0.3, noise=(0.02, 0.08))
        noisy, deviation = drawn(augmentation, 400, 12, 13).T
        measured = (augmented - 128).std(axis=(1, 2, 3))
        assert ((measured > 1) == (noisy < 0.3)).all() and 80 < (noisy < 0.3).sum() < 160
        expected = 255 * (0.02 + 0.06 * deviation[noisy < 0.3])
        np.testing.assert_allclose(measured[noisy < 0.3], expected, rtol=0.1)
        assert np.abs(augmented.mean() - 128) < 0.2

    def test_differs_between_images_epochs_and_pixels(self) -> None:
        first, second = (augment(self.images[:60], epoch=epoch, **STILL, p_noise=1.0)[0] - 128 for epoch in (0, 1))
        flat = first.reshape(60, -1)
        pairs = np.corrcoef(flat) - np.eye(60)
        assert np.abs(pairs).max() < 0.2
        assert abs(pearsonr(flat.ravel(), second.ravel())[0]) < 0.02
        assert abs(pearsonr(first[:, :, :-1].ravel(), first[:, :, 1:].ravel())[0]) < 0.02

    def test_stays_within_the_range_of_pixels(self) -> None:
        augmented, _ = augment(np.full((20, 16, 16, 1), 250, np.uint8), **STILL, p_noise=1.0, noise=(0.2, 0.2))
        assert 0 <= augmented.min() and augmented.max() == 255


class TestErase:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_fills_one_rectangle_within_the_image(self, channels: int) -> None:
        images = np.random.default_rng(0).integers(0, 256, (300, 40, 40, channels), dtype=np.uint8)
        augmented, augmentation = augment(images, **STILL, p_erase=0.5, erase=(0.1, 0.5))
        chosen = drawn(augmentation, 300, 15)[:, 0] < 0.5
        changed = (np.abs(augmented - images) > 0.01).any(axis=3)
        assert 110 < chosen.sum() < 190
        assert not changed[~chosen].any()
        sides = []
        for image, mask in zip(augmented[chosen], changed[chosen]):
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            patch = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert (patch == patch[0, 0]).all()  # one grey or colour
            sides += patch.shape[:2]
        assert 3 <= min(sides) < 7 and 17 < max(sides) <= 21
        assert np.mean(sides) == pytest.approx(40 * 0.3, abs=1)

    def test_reaches_every_place(self) -> None:
        changed = augment(np.zeros((6000, 20, 20, 1), np.uint8), **STILL, p_erase=1.0)[0].any(axis=3).mean(axis=0)
        assert changed.min() > 0
        for edge in (changed[0], changed[-1], changed[:, 0], changed[:, -1]):
            assert edge.mean() == pytest.approx(0.008, abs=0.004)


class TestDraws:
    images = np.random.default_rng(0).integers(0, 256, (64, 24, 24, 1), dtype=np.uint8)
    rows = np.random.default_rng(1).permutation(1000)[:64]

    def test_depend_on_the_row_and_not_on_the_batch_or_the_size_of_the_store(self) -> None:
        whole, _ = augment(self.images, self.rows, seed=3, epoch=5, **STRONG)
        for place in np.random.default_rng(2).permutation(64):
            alone, _ = augment(self.images[[place]], self.rows[[place]], seed=3, epoch=5, **STRONG)
            np.testing.assert_array_equal(alone[0], whole[place])

    @pytest.mark.parametrize(("seed", "epoch"), [(3, 6), (4, 5), (5, 3)])
    def test_differ_between_epochs_and_seeds(self, seed: int, epoch: int) -> None:
        first, _ = augment(self.images, self.rows, seed=3, epoch=5)
        second, _ = augment(self.images, self.rows, seed=seed, epoch=epoch)
        assert (first != second).any(axis=(1, 2, 3)).mean() > 0.95

    def test_are_uniform_and_independent(self) -> None:
        draws = BatchTransforms().epoch(seed=1, epoch=2, count=4000).draws.numpy()
        assert min(ks_2samp(column, np.random.default_rng(9).random(20_000)).pvalue for column in draws.T) > 0.0005
        assert np.abs(np.corrcoef(draws.T) - np.eye(draws.shape[1])).max() < 0.08

    def test_ignore_global_random_state(self) -> None:
        first, _ = augment(self.images, **STRONG)
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - the draws must not depend on global state
        np.testing.assert_array_equal(first, augment(self.images, **STRONG)[0])

    def test_images_given_are_left_as_they_are(self) -> None:
        images = self.images.copy()
        augment(images, **STRONG)
        np.testing.assert_array_equal(images, self.images)

    def test_leave_something_to_see(self) -> None:
        y, x = np.mgrid[:48, :48] / 48 - 0.5
        disc = (np.where(np.hypot(x, y) < 0.35, 170, 90) + 20 * x).astype(np.uint8)
        images = np.repeat(disc[None, :, :, None], 600, axis=0)
        augmented, _ = augment(images, **STRONG)
        assert ((augmented == 0) | (augmented == 255)).mean(axis=(1, 2, 3)).max() < 0.4
        assert augmented.std(axis=(1, 2, 3)).min() > 10
        assert abs(augmented.mean() - images.mean()) < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mirror": "both"}, "augment.transforms.mirror must be one of none, random, alternating; got both."),
        ({"border": "wrap"}, "augment.transforms.border must be one of edge, reflect; got wrap."),
        ({"p_erase": 1.5}, "augment.transforms.p_erase must be from 0 to 1; got 1.5."),
        ({"rotate": -10}, "augment.transforms.rotate must be from 0 to 180; got -10."),
        ({"scale": (1.1, 0.9)}, "augment.transforms.scale must be two rising numbers from 0.1 to 10; got (1.1, 0.9)."),
        ({"noise": (0.1,)}, "augment.transforms.noise must be two rising numbers from 0 to 1; got (0.1,)."),
    ],
    ids=lambda value: next(iter(value), None) if isinstance(value, dict) else "",
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        BatchTransforms(**options)
    assert str(caught.value) == message
