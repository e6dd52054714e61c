"""RGB pictures from files, PIL images, arrays and tensors."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer_lightning.data.image_decoding import NO_IMAGE, UnreadableImage, on_white, pillow_pixels, read_image
from fer_lightning.data.layouts import is_file, is_folder
from fer_lightning.errors import UserError


def open_picture(picture: Any) -> np.ndarray:
    """RGB pixels uint8 `(H, W, 3)` of a picture of any kind.

    Args:
        picture: Path of a file, or a picture that `to_rgb` accepts.

    Raises:
        UserError: It is an address, or a file or object that is not a picture.
    """
    if not isinstance(picture, (str, os.PathLike)):
        return to_rgb(picture)
    # pathlib fails on unknown users, such as ~x, and a file of such a name is itself.
    path = os.fspath(picture) if os.path.lexists(picture) else os.path.expanduser(picture)  # noqa: PTH111
    if is_address(path):
        raise UserError(f"{picture} is an address, and nothing is downloaded: save the picture first.")
    return read_picture(Path(path))


def is_address(source: str) -> bool:
    """Whether a source is a URL, and not a file of such a name."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", source)) and not os.path.lexists(source)


def read_picture(path: Path) -> np.ndarray:
    """RGB pixels uint8 `(H, W, 3)` of a picture file, read as in training, see `decode_image`.

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


def to_rgb(image: Any) -> np.ndarray:
    """RGB pixels of a picture; transparent pixels become white.

    Args:
        image: PIL image of any mode, or an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` RGB or `(H, W, 4)` RGBA: 8 or 16
            bits, or floats in 0..1; or a tensor, also with the channels first, `(C, H, W)`.

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
    if is_tensor(image):
        image = _from_tensor(image)
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
        kind = f"an array {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(
            f"A picture must be a file, a PIL image, a tensor, or an array (H, W), (H, W, 3) or (H, W, 4); got {kind}."
        )
    pixels = _to_bytes(image)
    pixels = on_white(pixels if pixels.ndim == 3 else pixels[..., None])
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] != 3:
        hint = ": move its channels to the end" if image.shape[0] in (1, 3, 4) else ""
        raise UserError(f"A picture must have 1, 3 (RGB) or 4 (RGBA) channels; got {image.shape[2]}{hint}.")
    return np.ascontiguousarray(pixels)


def is_tensor(image: object) -> bool:
    """Whether an object is a PyTorch tensor, without importing PyTorch."""
    return type(image).__module__.partition(".")[0] == "torch" and hasattr(image, "detach")


def _from_tensor(image: Any) -> np.ndarray:
    image = image.detach().cpu()
    array: np.ndarray = (image.float() if image.is_floating_point() else image).numpy()
    return array.transpose(1, 2, 0) if array.ndim == 3 and array.shape[0] in (1, 3, 4) else array


def _to_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating) and np.nanmin(array) >= 0 and np.nanmax(array) <= 1:
        return np.rint(255 * np.nan_to_num(array)).astype(np.uint8)
    values = f" from {array.min()} to {array.max()}" if array.dtype.kind in "if" else ""
    raise UserError(
        f"A picture must have unsigned 8 or 16 bits, or floats in 0..1; got {array.dtype}{values}: convert 0..255 by "
        ".astype(np.uint8)."
    )
