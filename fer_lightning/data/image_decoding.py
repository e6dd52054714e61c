"""Image decoding, shared by training, prediction and the demo so that all see the same pixels of a file."""

from __future__ import annotations

import io
import re
import stat
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps

MAX_PIXELS = 178_956_970  # Pillow's limit; 16,384 x 10,922 pixels, half a gigabyte in RGB
NO_IMAGE = "not a readable image"
_ENDS_EARLY = "the file ends in the middle of the image"
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm",
    ".jfif", ".jpe", ".jp2", ".ppm", ".pnm", ".gif", ".avif", ".tga",
)  # fmt: skip

# Formats that Pillow may open. Others are not photos, and some (EPS) would start a program.
_FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "SUN", "TGA", "TIFF",
    "WEBP",
)  # fmt: skip
_ORIENTATION = 0x0112  # in EXIF
_PNG = b"\x89PNG\r\n\x1a\n"
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_HDR_SIZE = re.compile(rb"\n[-+]Y (\d{1,9}) [-+]X (\d{1,9})\n")
_STRAY_BYTES = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes")
_MOST_STRAY_BYTES = 64  # some cameras pad a file; a damaged scan leaves more


class UnreadableImage(Exception):
    """A picture that cannot be decoded. The message gives the reason without the file name, which the caller knows."""


def read_image(path: Path) -> np.ndarray:
    """Decodes a picture file: `decode_image` of its content.

    Raises:
        UnreadableImage: The file does not exist, is not a picture, or is damaged.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
            raise UnreadableImage("not a file")
        if status.st_size > 8 * MAX_PIXELS:
            raise UnreadableImage(f"{status.st_size:,} bytes are more than a picture of {MAX_PIXELS:,} pixels can have")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # a NUL in the name
        raise UnreadableImage(f"cannot be read ({error})") from None
    return decode_image(content)


def decode_image(content: bytes) -> np.ndarray:
    """Decodes a picture, rotated by its EXIF orientation; the first frame of an animation.

    Transparent pixels are composited on white, because their colours are arbitrary and black in most files. 16 bits are
    reduced to 8. Floats are interpreted as 0..1, 0..255 or 0..65535, by their largest value.

    Args:
        content: Content of the file: JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, JPEG 2000, PNM, TGA and a few more.

    Returns:
        uint8, `(H, W)` grey or `(H, W, 3)` RGB.

    Raises:
        UnreadableImage: The content is not a picture, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    if not content:
        raise UnreadableImage("the file is empty")
    if content.startswith(b"\xff\xd8"):
        return _decode_jpeg(content)
    if content.startswith(_PNG):
        return _decode_png(content)
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC:
        raise UnreadableImage("HEIC is not supported: convert the photo to JPEG or PNG")
    if content.startswith((b"#?RADIANCE", b"#?RGBE")):
        size = _HDR_SIZE.search(content[:65536])
        if size is None:
            raise UnreadableImage(NO_IMAGE)
        check_pixels(int(size[2]), int(size[1]))
        return _by_opencv(content)
    return _decode_other(content)


def check_pixels(width: int, height: int) -> None:
    """Raises `UnreadableImage` for a picture of more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS:,}: make it smaller")


def pillow_pixels(image: Image.Image) -> np.ndarray:
    """RGB pixels of a Pillow image of any mode, converted as by `decode_image`.

    Raises:
        UnreadableImage: The range of its values is unknown.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _to_bytes(np.asarray(image), sixteen_bits=image.mode.startswith("I;16"))
        return np.repeat(grey[..., None], 3, axis=2)
    return on_white(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")))


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Composites uint8 pixels `(H, W, 2 or 4)` with alpha on white, `(H, W, 1 or 3)`; others are returned unchanged."""
    if pixels.ndim != 3 or pixels.shape[2] not in (2, 4):
        return pixels
    alpha = pixels[..., -1:].astype(np.uint16)
    return ((pixels[..., :-1] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def conform(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Image in the size and number of channels of a network's input.

    The centre square is resized, by area when it shrinks and bicubically when it grows.

    Args:
        image: uint8 `(H, W)` or `(H, W, 3)` RGB.
        size: Height and width of the result in pixels.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 `(size, size, channels)`.
    """
    if image.ndim == 3 and channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    elif image.ndim == 2 and channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    height, width = image.shape[:2]
    square = min(height, width)
    top, left = (height - square) // 2, (width - square) // 2
    image = image[top : top + square, left : left + square]
    if square != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if square > size else cv2.INTER_CUBIC)
    return image.reshape(size, size, channels)


def _decode_jpeg(content: bytes) -> np.ndarray:
    # OpenCV and Pillow fill missing or damaged parts with grey; libjpeg-turbo, which both use, can raise instead.
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        check_pixels(width, height)
        pixels = _decompress_jpeg(content, "GRAY" if colours == "Gray" else "RGB")
    except ValueError as error:
        reason = str(error).removeprefix("Corrupt JPEG data: ")
        ends_early = reason.startswith("Premature end of JPEG file")
        raise UnreadableImage(_ENDS_EARLY if ends_early else f"the file is damaged ({reason})") from None
    if colours not in ("Gray", "YCbCr", "RGB") or _is_turned(content):
        return _by_opencv(content)
    return pixels[..., 0] if colours == "Gray" else pixels


def _decompress_jpeg(content: bytes, colours: str) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(content, colours, strict=True)
    except ValueError as error:
        stray = _STRAY_BYTES.match(str(error))
        if not stray or int(stray[1]) > _MOST_STRAY_BYTES:
            raise
        return simplejpeg.decode_jpeg(content, colours, strict=False)


def _is_turned(content: bytes) -> bool:
    """Whether the EXIF orientation is not upright, or may not be because Pillow cannot read it."""
    if b"Exif" not in content[:65536]:
        return False
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as opened:
            return opened.getexif().get(_ORIENTATION, 1) != 1
    except Exception:  # Pillow raises many types for damaged metadata; OpenCV may still read it
        return True


def _decode_png(content: bytes) -> np.ndarray:
    transparent = False
    place = len(_PNG)
    kind = b""
    view = memoryview(content)
    while kind != b"IEND":
        if place + 12 > len(content):
            raise UnreadableImage(_ENDS_EARLY)
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            raise UnreadableImage(_ENDS_EARLY)
        # Decoders may ignore chunks in lower case, but transparency (tRNS) is used here.
        if (kind[:1].isupper() or kind == b"tRNS") and zlib.crc32(view[place + 4 : end]) != struct.unpack_from(
            ">I", content, end
        )[0]:
            raise UnreadableImage(f"the file is damaged (checksum of {kind.decode('latin-1')})")
        if place == len(_PNG):
            if kind != b"IHDR" or length != 13:
                raise UnreadableImage(NO_IMAGE)
            check_pixels(*struct.unpack_from(">II", content, place + 8))
            transparent = content[place + 17] in (4, 6)
        transparent |= kind == b"tRNS"
        place = end + 4
    return _by_pillow(content, ("PNG",))[0] if transparent else _by_opencv(content)


def _decode_other(content: bytes) -> np.ndarray:
    """Pixels by OpenCV, or by Pillow where it alone can decode; Pillow also detects damage that OpenCV does not."""
    pixels, image = _by_pillow(content, _FORMATS)
    if image.mode == "F" or image.has_transparency_data:
        return pixels
    try:
        return _by_opencv(content)
    except UnreadableImage:
        return pixels


def _by_pillow(content: bytes, formats: tuple[str, ...]) -> tuple[np.ndarray, Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures and unusual metadata
            with Image.open(io.BytesIO(content), formats=formats) as opened:
                check_pixels(*opened.size)
                opened.load()
                return pillow_pixels(ImageOps.exif_transpose(opened)), opened
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more pixels than the limit of {MAX_PIXELS:,}: make it smaller") from None
    except Image.UnidentifiedImageError:
        raise UnreadableImage(NO_IMAGE) from None
    except Exception as error:  # decoders raise exceptions of many types
        raise UnreadableImage(f"the file is damaged ({str(error)[:100] or type(error).__name__})") from None


def _by_opencv(content: bytes) -> np.ndarray:
    try:
        # ANYCOLOR without ANYDEPTH: grey stays grey, 16 bits become 8.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        image = None
    if image is None:
        raise UnreadableImage(NO_IMAGE)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _to_bytes(values: np.ndarray, sixteen_bits: bool) -> np.ndarray:
    if sixteen_bits:
        return (values.astype(np.uint16) >> 8).astype(np.uint8)
    least, most = values.min(), values.max()
    if not (np.isfinite(least) and np.isfinite(most)) or least < 0 or most > 65535:
        raise UnreadableImage("its values must be in 0..1, 0..255 or 0..65535")
    top = 65535 if most > 255 else 1 if most <= 1 and values.dtype.kind == "f" else 255
    return np.rint(values * (255.0 / top)).astype(np.uint8)
