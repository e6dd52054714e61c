"""Pictures of any kind as RGB: files as `image_decoding` reads them, and pixels that a program hands over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fer_lightning.data.image_decoding import NO_IMAGE, UnreadableImage, on_white, pillow_pixels, read_image
from fer_lightning.data.layouts import is_file, is_folder
from fer_lightning.errors import UserError


def read_picture(path: Path) -> np.ndarray:
    """Reads a picture file, upright as its camera says: the pixels that training sees.

    Args:
        path: In any format of `decode_image`; of an animation, the first picture.

    Returns:
        RGB, uint8 `(H, W, 3)`; what is transparent is white.

    Raises:
        UserError: There is no such file, or it is no picture, or a broken one.
    """
    require_file(path)
    try:
        return to_rgb(read_image(path))
    except UnreadableImage as error:
        reason = "" if str(error) == NO_IMAGE else f": {error}"
        raise UserError(f"{path} is not a picture, or a broken one{reason}.") from None


def require_file(path: Path) -> None:
    """Refuses a picture that is not there.

    Raises:
        UserError: Nothing, or something else than a file, lies there.
    """
    if not is_file(path):
        raise UserError(f"{path} does not exist." if not is_folder(path) else f"{path} is not a file.")


def to_rgb(image: np.ndarray | Image.Image) -> np.ndarray:
    """Brings a picture to RGB; what is transparent becomes white.

    Args:
        image: A PIL image of any mode, or an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` RGB or `(H, W, 4)` RGBA: 8 or 16
            bits, or floats in 0..1.

    Returns:
        uint8 `(H, W, 3)`, contiguous.

    Raises:
        UserError: It is of another kind.
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
        raise UserError(f"An array of {image.shape[2]} channels is no picture: use 1, 3 (RGB) or 4 (RGBA).")
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
    raise UserError(f"An array of {array.dtype} is no picture: use 8 or 16 bits without sign, or floats in 0..1.")
