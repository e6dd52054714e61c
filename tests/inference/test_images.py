from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_lightning.errors import UserError
from fer_lightning.inference.images import read_picture, to_rgb

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def close(one, other, least=1):
    assert one.dtype == np.uint8 and one.shape == other.shape and one.flags.c_contiguous
    assert np.abs(one.astype(int) - other).max() <= least


def test_arrays_of_all_kinds_become_rgb():
    three = np.repeat(GREY[..., None], 3, 2)
    close(to_rgb(RGB), RGB, 0)
    close(to_rgb(GREY), three, 0)
    close(to_rgb(GREY[..., None]), three, 0)
    close(to_rgb(RGB.astype(np.uint16) * 257), RGB, 0)
    close(to_rgb(RGB / 255), RGB, 0)
    close(to_rgb(RGB[:, ::-1]), RGB[:, ::-1], 0)
    close(to_rgb(GREY > 127), np.repeat(np.where(GREY > 127, 255, 0)[..., None], 3, 2), 0)


def test_what_is_transparent_is_white():
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:2], alpha[2:4] = 0, 51
    mixed = to_rgb(np.dstack([RGB, alpha]))
    close(mixed[:2], np.full((2, 9, 3), 255), 0)
    close(mixed[2:4], np.rint(0.2 * RGB[2:4] + 0.8 * 255))
    close(mixed[4:], RGB[4:], 0)
    close(to_rgb(Image.fromarray(np.dstack([GREY, alpha]), "LA"))[:2], np.full((2, 9, 3), 255), 0)


@pytest.mark.parametrize("wrong", [np.zeros((3, 3, 5), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4, 3)), "text"])
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(UserError):
        to_rgb(wrong)


def test_numbers_that_could_be_anything_are_refused():
    with pytest.raises(UserError, match="int64"):
        to_rgb(RGB.astype(np.int64))
    with pytest.raises(UserError, match=r"floats in 0\.\.1"):
        to_rgb(RGB.astype(np.float32))


def test_files_of_sixteen_bits_keep_their_contrast(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), GREY.astype(np.uint16) * 257)
    close(read_picture(tmp_path / "grey.png"), np.repeat(GREY[..., None], 3, 2))
    cv2.imwrite(str(tmp_path / "colour.png"), RGB[..., ::-1].astype(np.uint16) * 257)
    close(read_picture(tmp_path / "colour.png"), RGB)


def test_the_camera_says_which_way_is_up(tmp_path):
    turned = Image.Exif()
    turned[0x112] = 6
    Image.fromarray(np.rot90(RGB).copy()).save(tmp_path / "turned.png", exif=turned)
    close(read_picture(tmp_path / "turned.png"), RGB, 0)


def test_animations_palettes_and_print_colours(tmp_path):
    frames = [Image.fromarray(np.full((4, 4, 3), shade, np.uint8)) for shade in (200, 10)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    close(read_picture(tmp_path / "two.gif"), np.full((4, 4, 3), 200), 2)
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(tmp_path / "print.jpg")
    close(read_picture(tmp_path / "print.jpg"), np.zeros((4, 4, 3)), 3)
    clear = Image.new("P", (4, 4), 0)
    clear.save(tmp_path / "palette.png", transparency=0)
    close(read_picture(tmp_path / "palette.png"), np.full((4, 4, 3), 255), 0)


def test_broken_files_are_told_in_one_sentence(tmp_path):
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.tile(RGB, (20, 20, 1))).save(whole)
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for name, told in (
        ("half.jpg", "broken"),
        ("text.jpg", "not a picture"),
        ("empty.png", "is empty"),
        ("none.png", "does not exist"),
        ("", "not a file"),
    ):
        with pytest.raises(UserError, match=told):
            read_picture(tmp_path / name)
