from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fer_lightning.deploy.demo.upload import read_upload
from fer_lightning.errors import UserError

LIMIT = 50


def colours(height: int = 30, width: int = 40) -> np.ndarray:
    """Left half red, right half blue, the upper right corner white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    pixels[: height // 4, -width // 4 :] = 255
    return pixels


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "gif", "jpg"])
def test_reads_what_was_written(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(colours()).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = read_upload(path.read_bytes(), LIMIT)
    assert read.dtype == np.uint8 and read.shape == (30, 40, 3)
    assert np.abs(read[20].astype(int) - colours()[20]).mean() < (8 if suffix == "jpg" else 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK"])
def test_every_kind_of_pixels_becomes_rgb(tmp_path, mode):
    path = tmp_path / "picture.tiff"
    Image.fromarray(colours()).convert(mode).save(path)
    assert read_upload(path.read_bytes(), LIMIT).shape == (30, 40, 3)


def test_phones_note_how_they_were_held(tmp_path):
    """Orientation 6: what is up in the picture lies at the right of the stored pixels."""
    path = tmp_path / "picture.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(colours()).save(path, exif=exif)
    np.testing.assert_array_equal(read_upload(path.read_bytes(), LIMIT), np.rot90(colours(), -1))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_large_pictures_become_smaller_and_keep_their_shape(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(colours(1500, 6000)).save(path)
    read = read_upload(path.read_bytes(), LIMIT)
    assert read.shape == (480, 1920, 3)
    assert read[400, 100].argmax() == 0 and read[400, 1800].argmax() == 2


def test_a_single_pixel(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (1, 1)).save(path)
    assert read_upload(path.read_bytes(), LIMIT).shape == (1, 1, 3)


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg></svg>"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(UserError, match=r"^This file is not a picture: use a JPEG, PNG, .*\.$"):
        read_upload(content, LIMIT)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_half_a_picture_is_refused(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="broken"):
        read_upload(path.read_bytes(), LIMIT)


@pytest.mark.parametrize("side", [8_000, 60_000])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(tmp_path, side):
    """A PNG whose head promises more than the limit, and whose pixels are not even there."""
    path = tmp_path / "bomb.png"
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head) - 4) + head + struct.pack(">I", zlib.crc32(head))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT")
    with pytest.raises(UserError, match=r"more than the 50 megapixels"):
        read_upload(path.read_bytes(), LIMIT)
