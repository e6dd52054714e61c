"""Export formats of a network: writing its files, and computing logits with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fer_lightning.deploy.onnx import export_onnx, onnx_metadata, quantize, quiet, reason, traceable, write_onnx
from fer_lightning.deploy.parity import Compute, Faces, self_test, torch_compute
from fer_lightning.errors import UserError
from fer_lightning.inference.onnx_classifier import open_session
from fer_lightning.training.checkpoints import TrainedNet, load_net, save_net
from fer_lightning.training.safetensors_weights import FILES

EXAMPLE = Path(__file__).parent / "templates" / "predict.py.txt"  # use of an ONNX file without this package


def write_forms(
    trained: TrainedNet,
    source: str,
    formats: Sequence[str],
    half: bool,
    calibration: Faces | None,
    method: str,
    folder: Path,
) -> dict[str, Path]:
    """Writes a network in several formats.

    Args:
        trained: Trained network without names of local folders, see `portable`.
        source: Name of the network in the files.
        formats: Keys of `FILES`. For `int8`, the ONNX file in float32 is written too.
        half: Whether weights are stored in half precision, see `save_net`.
        calibration: Faces for the calibration of int8; None without int8.
        method: Calibration method, see `quantize`.
        folder: Folder of the files.

    Returns:
        The files by format.

    Raises:
        UserError: The network cannot be written in this format.
    """
    files: dict[str, Path] = {}
    if "onnx" in formats or "int8" in formats:
        files["onnx"] = folder / FILES["onnx"]
        metadata = onnx_metadata(trained, source)
        export_onnx(trained.net, metadata, files["onnx"])
        if calibration is not None:
            files["int8"] = folder / FILES["int8"]
            quantized = quantize(files["onnx"], list(calibration.batches()), method)
            metadata["precision"] = "int8"
            write_onnx(quantized, metadata, files["int8"])
            write_onnx(quantized, {**metadata, "self_test": _self_test(files["int8"], trained)}, files["int8"])
    if "safetensors" in formats:
        files["safetensors"] = folder / FILES["safetensors"]
        save_net(trained, files["safetensors"], half)
        save_net(trained, files["safetensors"], half, _self_test(files["safetensors"], trained))
    if "executorch" in formats:
        files["executorch"] = folder / FILES["executorch"]
        export_executorch(trained.net, onnx_metadata(trained, source), files["executorch"])
    return files


def export_executorch(net: nn.Module, metadata: Mapping[str, Any], path: Path) -> None:
    """Writes a network as a program of ExecuTorch, which computes on CPUs, also of phones, by XNNPACK.

    Its method `forward` has the inputs and outputs of `export_onnx` for a batch of one; `metadata` returns JSON.

    Args:
        net: Network in evaluation mode on the CPU.
        metadata: Metadata of the file, see `onnx_metadata`.
        path: Path of the file.

    Raises:
        UserError: ExecuTorch cannot write this network.
    """
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

    traced, inputs, _ = traceable(net, metadata["preprocessing"], images=1)
    try:
        with torch.no_grad(), quiet():
            program = to_edge_transform_and_lower(
                torch.export.export(traced, tuple(inputs.values())),
                partitioner=[XnnpackPartitioner()],
                constant_methods={"metadata": json.dumps(metadata)},
            ).to_executorch()
    except Exception as error:  # the exporter wraps exceptions of its steps
        raise UserError(f"{type(net).__name__} cannot be written for ExecuTorch: {reason(error)}") from error
    path.write_bytes(program.buffer)


def _self_test(path: Path, trained: TrainedNet) -> dict[str, Any] | None:
    """Self-test of a written file, whose weights may be rounded."""
    return self_test(compute_of(path), trained.description["preprocessing"], trained.temperature)


def compute_of(path: Path) -> Compute:
    """Function that computes the logits of an exported file; ONNX Runtime and ExecuTorch use one thread."""
    if path.suffix == ".onnx":
        session = open_session(path, threads=1)
        return lambda inputs: session.run(["logits"], dict(inputs))[0]
    if path.suffix == ".pte":
        return _executorch_compute(path)
    return torch_compute(load_net(path).net)


def _executorch_compute(path: Path) -> Compute:
    with quiet():
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
        from executorch.runtime import Runtime

    _unsafe_reset_threadpool(1)  # there is no other way to set the number of threads
    program = Runtime.get().load_program(path)

    def compute(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        faces = zip(*(torch.from_numpy(values).split(1) for values in inputs.values()))
        return torch.cat([program.load_method("forward").execute(face)[0] for face in faces]).numpy()

    return compute
