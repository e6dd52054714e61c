from __future__ import annotations

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_lightning.data.image_decoding import MAX_PIXELS, UnreadableImage, decode_image, read_image

RNG = np.random.default_rng(0)
COLOUR = cv2.GaussianBlur(RNG.integers(0, 256, (30, 20, 3), dtype=np.uint8), (0, 0), 2)
GREY = COLOUR[:, :, 0].copy()


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A header that announces pixels which are not there."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


ALPHA = np.full(GREY.shape, 255, np.uint8)
ALPHA[:10], ALPHA[10:20] = 0, 51


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_laid_on_white(kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    decoded = decode_image(encode(Image.fromarray(np.dstack([COLOUR, ALPHA])), kind, **options))
    assert (decoded[:10] == 255).all()
    assert np.abs(decoded[10:20] - (0.2 * COLOUR[10:20] + 0.8 * 255)).max() <= 1
    np.testing.assert_array_equal(decoded[20:], COLOUR[20:])


def test_a_colour_of_a_palette_can_be_transparent():
    assert (decode_image(encode(Image.new("P", (4, 4), 0), "PNG", transparency=0)) == 255).all()
    assert (decode_image(encode(Image.new("L", (4, 4), 9), "PNG", transparency=9)) == 255).all()


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "TGA", "PCX", "SGI"])
@pytest.mark.parametrize("expected", [GREY, COLOUR], ids=["grey", "rgb"])
def test_formats_without_loss(kind, expected):
    decoded = decode_image(encode(Image.fromarray(expected), kind))
    np.testing.assert_array_equal(decoded if decoded.ndim == expected.ndim else decoded[..., 0], expected)


@pytest.mark.parametrize(("top", "tolerance"), [(1, 0), (255, 0), (65535, 0)])
def test_floats_are_taken_by_their_range(top, tolerance):
    values = GREY.astype(np.float32) * np.float32(top / 255)
    decoded = decode_image(encode(Image.fromarray(values), "TIFF"))
    assert np.abs(decoded[..., 0].astype(int) - GREY).max() <= tolerance


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1, 1e9])
def test_floats_without_a_known_range_are_refused(wrong):
    values = GREY.astype(np.float32)
    values[3, 3] = wrong
    with pytest.raises(UnreadableImage, match="must be in"):
        decode_image(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"tiffinfo": {0x0112: 6}} if kind == "TIFF" else {"exif": exif}
    assert decode_image(encode(Image.fromarray(COLOUR), kind, **options)).shape == (20, 30, 3)


def test_of_an_animation_the_first_picture():
    frames = [Image.fromarray(np.full((4, 4, 3), shade, np.uint8)) for shade in (200, 10)]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(decode_image(content).astype(int) - 200).max() <= 2


def test_print_colours():
    assert decode_image(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG")).max() <= 3


NOISE = encode(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (NOISE[: len(NOISE) // 2] + b"\xff\xd9", "damaged"),
        (NOISE[: len(NOISE) // 2] + bytes(len(NOISE) // 2) + b"\xff\xd9", "damaged"),
        (NOISE[: len(NOISE) // 2] + bytes(len(NOISE) // 2), "ends in the middle"),
        (NOISE[:-1000] + bytes(1000) + b"\xff\xd9", "damaged"),
    ],
    ids=["early end", "zeros and an end", "zeros", "many bytes left"],
)
def test_a_damaged_jpeg_is_refused_in_silence(content, told, capfd):
    with pytest.raises(UnreadableImage, match=told):
        decode_image(content)
    assert capfd.readouterr().err == ""


def test_a_few_stray_bytes_do_no_harm(capfd):
    np.testing.assert_array_equal(decode_image(NOISE[:-2] + bytes(8) + NOISE[-2:]), decode_image(NOISE))
    assert capfd.readouterr().err == ""


def test_a_wrong_checksum_is_damage():
    content = bytearray(encode(Image.fromarray(COLOUR), "PNG"))
    content[content.index(b"IDAT") + 20] ^= 1
    with pytest.raises(UnreadableImage, match="checksum of IDAT"):
        decode_image(bytes(content))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
def test_a_damaged_tiff_is_refused(compression):
    content = bytearray(
        encode(Image.fromarray(RNG.integers(0, 256, (64, 64), np.uint8)), "TIFF", compression=compression)
    )
    content[1000:1100] = b"\xa5" * 100
    with pytest.raises(UnreadableImage, match="damaged"):
        decode_image(bytes(content))


@pytest.mark.parametrize(
    "content",
    [
        png_of(20000, 20000),
        NOISE.replace(b"\x00\x11\x08\x00\x40\x00\x40", b"\x00\x11\x08\x4e\x20\x4e\x20"),
        b"P5\n20000 20000\n255\n0",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 20000\n",
        encode(Image.new("L", (16, 16)), "BMP").replace(b"\x10\0\0\0\x10\0\0\0", b"\x20\x4e\0\0\x20\x4e\0\0", 1),
        encode(Image.new("L", (16, 16)), "GIF").replace(b"\x10\0\x10\0", b"\x20\x4e\x20\x4e"),
    ],
    ids=["png", "jpeg", "pgm", "hdr", "bmp", "gif"],
)
def test_one_limit_of_pixels_for_all_formats(content, monkeypatch):
    for name in ("imdecode",):
        monkeypatch.setattr(cv2, name, None)  # nothing is decoded
    with pytest.raises(UnreadableImage, match="make it smaller") as refused:
        decode_image(content)
    assert f"{MAX_PIXELS:,}" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "not a readable image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a readable image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported"),
    ],
    ids=["empty", "html", "eps", "heic"],
)
def test_what_is_no_picture_is_refused(content, told):
    with pytest.raises(UnreadableImage, match=told):
        decode_image(content)


def test_files_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, told in (("pipe.png", "not a file"), ("folder.png", "not a file"), ("none.png", "cannot be read")):
        with pytest.raises(UnreadableImage, match=told):
            read_image(tmp_path / name)
    with pytest.raises(UnreadableImage, match="cannot be read"):
        read_image(tmp_path / ("x" * 300 + ".png"))
