from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest

from fer_lightning.data.corruptions import CORRUPTIONS, SEVERITIES, corruption, select_corruptions
from fer_lightning.errors import UserError

SHAPES = [(48, 48, 1), (48, 48, 3), (224, 224, 1), (224, 224, 3), (40, 64, 3)]


@cache
def textured(shape: tuple[int, int, int], count: int = 2) -> np.ndarray:
    """Random pictures with structure at all scales, as photographs have it, `(count, H, W, C)`."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((count, *shape))
    for share in (0.01, 0.02, 0.04, 0.08, 0.16):
        for picture in pictures:
            rough = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), share * min(shape[:2])).reshape(shape)
            picture += 20 * rough / rough.std()
    return (pictures + 128).clip(20, 235).astype(np.uint8)


def spoil(name: str, severity: int, pictures: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    rows = np.arange(len(pictures)) if rows is None else rows
    return corruption(name, severity, min(pictures.shape[1:3]))(pictures, rows)


def covered(name: str, severity: int, side: int = 100) -> np.ndarray:
    """Which pixels `(side, side)` of a black and white chequerboard are hidden."""
    board = (255 * (np.indices((side, side)).sum(axis=0) % 2)).astype(np.uint8)[None, :, :, None]
    return (spoil(name, severity, board) != board)[0, :, :, 0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_spoils_more_with_severity(name, shape):
    clean = textured(shape)
    given = clean.copy()
    spoilt = [spoil(name, severity, clean) for severity in SEVERITIES]
    np.testing.assert_array_equal(clean, given)
    assert all(each.shape == clean.shape and each.dtype == np.uint8 for each in spoilt)
    distances = [np.abs(each.astype(float) - clean).mean() for each in spoilt]
    assert distances[0] > 0.05
    assert (np.diff(distances) > 0).all(), distances


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_has_five_severities(name):
    assert len(CORRUPTIONS[name].values) == len(SEVERITIES) == 5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_depends_on_the_row_alone(name):
    clean = np.repeat(textured((48, 48, 1), 1), 40, axis=0)
    rows = np.random.default_rng(1).permutation(1000)[:40]
    whole = spoil(name, 3, clean, rows)
    for place in (7, 0, 31):
        np.testing.assert_array_equal(spoil(name, 3, clean[:1], rows[place : place + 1])[0], whole[place])
    different = {picture.tobytes() for picture in whole}
    assert len(different) == {"glare": 40, "noise": 40, "rotation": 2}.get(name, 1)


def test_a_higher_severity_is_more_of_the_same():
    grey = np.full((1, 64, 64, 1), 128, np.uint8)
    mild, strong = (spoil("noise", severity, grey).astype(float).ravel() - 128 for severity in (1, 5))
    assert np.corrcoef(mild, strong)[0, 1] > 0.99
    centres = [np.unravel_index(spoil("glare", severity, grey).argmax(), grey.shape) for severity in (1, 5)]
    np.testing.assert_allclose(*np.array(centres)[:, 1:3], atol=2)


@pytest.mark.parametrize(("severity", "rows"), list(zip(SEVERITIES, (8, 16, 24, 32, 40))))
def test_a_bar_covers_the_eyes(severity, rows):
    hidden = covered("eyes", severity)
    assert hidden[:, 10:90].all(axis=1).sum() == rows and hidden.sum() == 80 * rows
    assert hidden[40, 35] and hidden[40, 65] and not hidden[70:].any()


@pytest.mark.parametrize(("severity", "area"), list(zip(SEVERITIES, (24 * 10, 34 * 16, 44 * 22, 54 * 28, 64 * 34))))
def test_a_box_covers_the_mouth(severity, area):
    hidden = covered("mouth", severity)
    assert hidden.sum() == area and hidden[78, 50] and not hidden[:60].any()


@pytest.mark.parametrize(("severity", "top"), list(zip(SEVERITIES, (80, 72, 64, 56, 48))))
def test_a_mask_covers_all_below_its_edge(severity, top):
    hidden = covered("mask", severity)
    assert hidden[top:, 10:90].all() and hidden.sum() == 80 * (100 - top)


def test_a_cover_has_the_mean_colour():
    red = np.zeros((1, 50, 50, 3), np.uint8)
    red[..., 0] = 200
    red[:, :25, :, 1] = 100
    assert spoil("mask", 5, red)[0, 45, 25].tolist() == [200, 50, 0]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_darkness_halves_the_light(severity):
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    expected = 255 * ((grey / 255) ** 2.2 * 0.5**severity) ** (1 / 2.2)
    np.testing.assert_allclose(spoil("darkness", severity, grey), expected, atol=1)


@pytest.mark.parametrize(("severity", "deviation"), list(zip(SEVERITIES, (0.04, 0.08, 0.12, 0.15, 0.18))))
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_has_its_deviation(severity, deviation, channels):
    grey = np.full((1, 128, 128, channels), 128, np.uint8)
    noise = spoil("noise", severity, grey)[0].astype(float) / 255
    assert noise.std() == pytest.approx(deviation, rel=0.05)
    if channels == 3:
        assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("side", [48, 224])
@pytest.mark.parametrize(("severity", "pixels_of_64"), list(zip(SEVERITIES, (0.8, 1.2, 1.4, 1.6, 2.0))))
def test_blur_grows_with_the_picture(side, severity, pixels_of_64):
    """The second moment of what becomes of a bright line is the variance of the blur."""
    line = np.zeros((1, side, side, 1), np.uint8)
    line[:, :, side // 2] = 255
    profile = spoil("blur", severity, line)[0, side // 2, :, 0].astype(float)
    offset = np.arange(side) - side // 2
    deviation = np.sqrt((profile * offset**2).sum() / profile.sum())
    assert deviation == pytest.approx(pixels_of_64 * side / 64, rel=0.1)


@pytest.mark.parametrize(("severity", "quality"), list(zip(SEVERITIES, (65, 58, 50, 40, 25))))
def test_compression_is_that_of_jpeg(severity, quality):
    clean = textured((48, 48, 1), 1)
    _, code = cv2.imencode(".jpg", clean[0], [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(spoil("compression", severity, clean)[0, :, :, 0], expected)


@pytest.mark.parametrize(("severity", "left"), list(zip(SEVERITIES, (60, 50, 40, 30, 25))))
def test_low_resolution_keeps_a_share_of_the_pixels(severity, left):
    clean = textured((100, 100, 3), 1)
    small = cv2.resize(clean[0], (left, left), interpolation=cv2.INTER_AREA)
    expected = cv2.resize(small, (100, 100), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(spoil("low_resolution", severity, clean)[0], expected)


@pytest.mark.parametrize("side", [48, 100, 224])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_low_resolution_moves_nothing(side, severity):
    """A ramp has no detail to lose."""
    ramp = np.tile(np.linspace(20, 230, side), (side, 1)).astype(np.uint8)[None, :, :, None]
    inside = slice(side // 6, -(side // 6))
    lost = spoil("low_resolution", severity, ramp)[0, :, inside, 0].astype(float) - ramp[0, :, inside, 0]
    assert np.abs(lost).max() <= 2 and abs(lost.mean()) < 0.6


@pytest.mark.parametrize(("severity", "degrees"), list(zip(SEVERITIES, (10, 20, 30, 40, 50))))
def test_rotation_turns_either_way(severity, degrees):
    y, x = np.mgrid[:101, :101] - 50
    ray = (255 * ((np.abs(y) < 2) & (x > 10) & (x < 45))).astype(np.uint8)[None, :, :, None]
    turned = spoil("rotation", severity, np.repeat(ray, 12, axis=0)).astype(float)[..., 0]
    angles = np.degrees([np.arctan2((own * y).sum(), (own * x).sum()) for own in turned])
    np.testing.assert_allclose(np.abs(angles), degrees, atol=1)
    assert {-1, 1} == set(np.sign(angles))


@pytest.mark.parametrize(("severity", "radius"), list(zip(SEVERITIES, (10, 15, 20, 27, 35))))
def test_glare_fades_as_a_gaussian(severity, radius):
    black = np.zeros((30, 100, 100, 1), np.uint8)
    spots = spoil("glare", severity, black)[..., 0].astype(float)
    y, x = np.mgrid[:100, :100]
    for spot in spots:
        centre_y, centre_x = np.argwhere(spot == spot.max()).mean(axis=0)
        assert 24 <= centre_y <= 75 and 24 <= centre_x <= 75
        expected = 255 * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * radius**2))
        assert np.abs(expected - spot).max() < 255 * 0.5 / radius  # the centre is known to a pixel


def test_names_are_chosen():
    assert select_corruptions([], "landmarks") == ()
    assert select_corruptions("all", "none") == select_corruptions(["all"], "none") == tuple(CORRUPTIONS)
    assert select_corruptions("blur", "none") == ("blur",)
    assert select_corruptions(["rotation", "eyes"], "none") == ("eyes", "rotation")


@pytest.mark.parametrize(
    ("asked", "side", "message"),
    [
        (["blur", "fog"], "none", "corruptions=fog is unknown: use one of all, eyes, mouth, mask, darkness"),
        ("blue", "none", "corruptions=blue is unknown"),
        (["blur"], "landmarks", "corruptions must be empty for a net with the auxiliary input landmarks"),
    ],
)
def test_mistakes_are_told(asked, side, message):
    with pytest.raises(UserError, match=message):
        select_corruptions(asked, side)
