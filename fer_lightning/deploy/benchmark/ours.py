"""Our own contestants: one network by several backends, in several precisions."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from fer_lightning.errors import UserError
from fer_lightning.evaluation.efficiency import multiply_adds, parameters
from fer_lightning.training.checkpoints import load_net

BACKENDS = ("torch", "onnxruntime")
PROGRAM = "fer_lightning.benchmark.drivers.own"


def own_commands(source: str, backends: list[str], int8: str | None, folder: Path) -> dict[str, list[str]]:
    """How to start a network behind each backend.

    Args:
        source: A name or file as `open_classifier` takes it.
        backends: Of `BACKENDS`; PyTorch is passed over where the source is an ONNX file. ONNX Runtime is timed twice:
            looking at every frame anew, and following the face as in a video.
        int8: A quantised ONNX file, one more contestant; or None.
        folder: Where a network that is no ONNX file is exported to, as `benchmark.onnx`.

    Returns:
        Commands by name, in the order of the backends.

    Raises:
        UserError: A backend is unknown, or none is left.
    """
    is_onnx = Path(source).suffix == ".onnx"
    commands = {}
    for backend in backends:
        if backend not in BACKENDS:
            raise UserError(f"backends has {backend}, which is unknown: use any of {', '.join(BACKENDS)}.")
        if backend == "onnxruntime":
            file = source if is_onnx else _exported(source, folder)
            commands["ours onnxruntime"] = _command(file, backend)
            commands["ours video"] = [*_command(file, backend), "follow"]
        elif not is_onnx:
            commands["ours torch"] = _command(source, backend)
    if int8 is not None:
        commands["ours int8"] = _command(int8, "onnxruntime")
    if not commands:
        raise UserError(f"checkpoint={source} is an ONNX file: use backends=[onnxruntime].")
    return commands


def costs(source: str) -> dict[str, int] | None:
    """Parameters, multiply-adds and FLOPs (two each) of a network for one face; None for an ONNX file.

    Raises:
        UserError: There is no such network.
    """
    if Path(source).suffix == ".onnx":
        return None
    trained = load_net(Path(source))
    size, channels = (trained.description["preprocessing"][name] for name in ("image_size", "channels"))
    work = multiply_adds(trained.net, (torch.zeros(1, channels, size, size),))
    return {"parameters": parameters(trained.net), "multiply_adds": work, "flops": 2 * work}


def _command(source: str, backend: str) -> list[str]:
    return [sys.executable, "-m", PROGRAM, source, backend]


def _exported(source: str, folder: Path) -> str:
    try:
        from fer_lightning.deploy.onnx import export_onnx, onnx_metadata
    except ImportError as error:
        raise UserError(
            f"backends has onnxruntime, for which {source} must be written as ONNX, and that needs the package "
            f"{error.name}: pip install 'fer_lightning[onnx]', or use backends=[torch]."
        ) from None
    trained = load_net(Path(source))
    file = folder / "benchmark.onnx"
    export_onnx(trained.net, onnx_metadata(trained, source), file)
    return str(file)
