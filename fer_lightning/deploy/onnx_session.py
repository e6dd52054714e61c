"""ONNX files as this project writes them: how they are opened, and what they say of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime

from fer_lightning.errors import UserError

# Written as JSON into the model's metadata_props.
METADATA = ("classes", "preprocessing", "protocol", "card", "precision")


def open_session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    """Opens an ONNX file on the CPU.

    Args:
        path: The file.
        threads: With which one call computes; None for all cores.

    Raises:
        UserError: There is no such file, or it is no ONNX model.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: make it with fer export checkpoint=... format=onnx.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of its own for each way in which a file can be broken
        raise UserError(f"{path} is broken, or no ONNX model: make it again with fer export.") from error


def read_metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    """What the file says of itself, by the names of `METADATA`.

    Raises:
        UserError: It was not written by this project.
    """
    given = session.get_modelmeta().custom_metadata_map
    try:
        return {name: json.loads(given[name]) for name in METADATA}
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} holds no classes and preprocessing: it was not made by fer export.") from error
