"""Pictures of any kind as RGB."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from fer_lightning.errors import UserError


def read_picture(path: Path) -> np.ndarray:
    """Reads a picture file, upright as its camera says.

    Args:
        path: In any format that PIL or OpenCV reads; of an animation, the first picture.

    Returns:
        RGB, uint8 `(H, W, 3)`; what is transparent is white.

    Raises:
        UserError: There is no such file, or it is no picture, or a broken one.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist." if not path.exists() else f"{path} is not a file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd metadata: what cannot be read is an error
            with Image.open(path) as opened:
                return to_rgb(ImageOps.exif_transpose(opened))
    except UserError:
        raise
    except Exception:  # whatever the decoders meet
        pass
    return _by_opencv(path)


def _by_opencv(path: Path) -> np.ndarray:
    content = path.read_bytes()
    if not content:
        raise UserError(f"{path} is empty.")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise UserError(f"{path} is not a picture, or a broken one.")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


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
        image = _pixels(image)
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
        raise UserError("A picture must be a file, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4).")
    pixels = _to_bytes(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:].astype(np.uint16)
        pixels = ((pixels[..., :-1] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] != 3:
        raise UserError(f"An array of {image.shape[2]} channels is no picture: use 1, 3 (RGB) or 4 (RGBA).")
    return np.ascontiguousarray(pixels)


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":  # PIL would cut them off at 255
        values = np.asarray(image).astype(np.float64)
        return (values / max(65535.0 if values.max() > 255 else 255.0, values.max(), 1e-9)).clip(0, 1)
    has_alpha = "A" in image.mode or "a" in image.mode or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


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
