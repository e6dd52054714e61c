"""What visitors give the page, as pixels; refused in one sentence where it is no picture."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from fer_lightning.data.image_decoding import decode_image
from fer_lightning.inference.images import to_rgb
from fer_lightning.errors import UserError

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_LARGEST_SIDE = 1920  # pixels: a face of 48, as nets read them, is then a 40th of the picture


def read_upload(content: bytes, max_megapixels: float) -> np.ndarray:
    """Reads a picture that a stranger gave, upright, and makes it smaller where it is larger than a screen.

    Args:
        content: A file of any kind.
        max_megapixels: What is larger is refused without being decoded: a file of 10 MB can hold gigabytes of pixels.

    Returns:
        RGB, uint8 `(H, W, 3)`; of several frames the first.

    Raises:
        UserError: The file is no picture, a broken one, or one of too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd metadata: what cannot be read is an error
            with Image.open(BytesIO(content), formats=_FORMATS) as opened:  # which looks at its head alone
                width, height = opened.size
        if width * height > 1e6 * max_megapixels:
            raise UserError(_too_large(f"{width} x {height} pixels", max_megapixels))
        picture = Image.fromarray(to_rgb(decode_image(content)))
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(_too_large("far too many pixels", max_megapixels)) from None
    except UnidentifiedImageError:
        raise UserError("This file is not a picture: use a JPEG, PNG, WebP, GIF, BMP or TIFF file.") from None
    except Exception:  # whatever the decoders meet
        raise UserError("This picture is broken and cannot be read: use another.") from None
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    return np.asarray(picture)


def _too_large(size: str, max_megapixels: float) -> str:
    return f"This picture has {size}, more than the {max_megapixels:g} megapixels that are allowed: make it smaller."
