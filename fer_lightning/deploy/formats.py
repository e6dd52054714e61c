"""Export formats of a network: writing its files, and computing logits with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_lightning.deploy.onnx import export_onnx, onnx_metadata, quantize, write_onnx
from fer_lightning.deploy.parity import Compute, Faces, self_test, torch_compute
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
    return files


def _self_test(path: Path, trained: TrainedNet) -> dict[str, Any] | None:
    """Self-test of a written file, whose weights may be rounded."""
    return self_test(compute_of(path), trained.description["preprocessing"], trained.temperature)


def compute_of(path: Path) -> Compute:
    """Function that computes the logits of an exported file; ONNX Runtime uses one thread."""
    if path.suffix == ".onnx":
        session = open_session(path, threads=1)
        return lambda inputs: session.run(["logits"], dict(inputs))[0]
    return torch_compute(load_net(path).net)
