"""RGB pictures from files, PIL images and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fer_lightning.data.image_decoding import NO_IMAGE, UnreadableImage, on_white, pillow_pixels, read_image
from fer_lightning.data.layouts import is_file, is_folder
from fer_lightning.errors import UserError


def read_picture(path: Path) -> np.ndarray:
    """Reads a picture file as training does, rotated by its EXIF orientation.

    Args:
        path: Path of a file in any format of `decode_image`; the first picture of an animation is read.

    Returns:
        RGB, uint8 `(H, W, 3)`; transparent pixels are white.

    Raises:
        UserError: The file does not exist, is not a picture, or is broken.
    """
    require_file(path)
    try:
        return to_rgb(read_image(path))
    except UnreadableImage as error:
        reason = "" if str(error) == NO_IMAGE else f": {error}"
        raise UserError(f"{path} is not a picture, or a broken one{reason}.") from None


def require_file(path: Path) -> None:
    """Raises `UserError` for a path that is not a file."""
    if not is_file(path):
        raise UserError(f"{path} does not exist." if not is_folder(path) else f"{path} is not a file.")


def to_rgb(image: np.ndarray | Image.Image) -> np.ndarray:
    """RGB pixels of a picture; transparent pixels become white.

    Args:
        image: PIL image of any mode, or an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` RGB or `(H, W, 4)` RGBA: 8 or 16
            bits, or floats in 0..1.

    Returns:
        uint8 `(H, W, 3)`, contiguous.

    Raises:
        UserError: The image is of another kind.
    """
    if isinstance(image, Image.Image):
        try:
            image = pillow_pixels(image)
        except UnreadableImage as error:
            raise UserError(f"This picture cannot be read: {error}.") from None
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
        raise UserError("A picture must be a file, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4).")
    pixels = _to_bytes(image)
    pixels = on_white(pixels if pixels.ndim == 3 else pixels[..., None])
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] != 3:
        raise UserError(f"A picture must have 1, 3 (RGB) or 4 (RGBA) channels; got {image.shape[2]}.")
    return np.ascontiguousarray(pixels)


def _to_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating) and np.nanmin(array) >= 0 and np.nanmax(array) <= 1:
        return np.rint(255 * np.nan_to_num(array)).astype(np.uint8)
    raise UserError(f"A picture must have unsigned 8 or 16 bits, or floats in 0..1; got {array.dtype}.")
