"""Where trained networks are found (files, runs, the package, the Hugging Face hub), and networks as safetensors files.

A safetensors file holds the weights and no code; its header holds what is needed to use them.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from fer_lightning.data.layouts import is_file, is_folder
from fer_lightning.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parents[1] / "weights"  # networks that ship with the package
FILES = {
    "safetensors": "model.safetensors",
    "onnx": "model.onnx",
    "int8": "model_int8.onnx",
    "executorch": "model.pte",
}  # of fer export, by format
HUB = "hf:"  # prefix of a repository on the hub
_PATIENCE = 10.0  # seconds for an answer of the hub
_REPOSITORY = re.compile(r"hf:(\w[\w.-]*/\w[\w.-]*)(?:/([\w.-]+\.(?:safetensors|onnx)))?(?:@(\w[\w./-]*))?", re.ASCII)
_PARTS = ("description", "epoch", "record")
log = logging.getLogger(__name__)


def shipped_nets() -> tuple[str, ...]:
    """Names of the trained networks that ship with the package."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def find_checkpoint(path: Path | str, option: str = "checkpoint", backend: str = "auto") -> Path:
    """Checkpoint file of a path or name; a run folder takes precedence over a shipped network of the same name.

    Args:
        path: See `load_net`; or `hf:user/name`, a repository of `fer export push=...` on the Hugging Face hub, of which
            one file is downloaded into the hub's cache: `hf:user/name@revision` for a branch, tag or commit, and
            `hf:user/name/model_int8.onnx` for that file.
        option: Name of the option that holds the path, for messages.
        backend: Backend that will open the file, which decides between those of a repository: ONNX for another one than
            PyTorch, or where that is not installed; otherwise safetensors.

    Raises:
        UserError: There is no such file.
    """
    if str(path).startswith(HUB):
        prefer_onnx = backend not in ("auto", "torch") or (backend == "auto" and find_spec("torch") is None)
        return _download(str(path), option, prefer_onnx)
    path = Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib fails on unknown users, such as ~x)
    file = path / "checkpoints" / "best.ckpt" if is_folder(path) else path
    if is_file(file):
        return file
    if str(path) in shipped_nets():
        return WEIGHTS / f"{path}.safetensors"
    close = difflib.get_close_matches(str(path), shipped_nets(), n=1)
    hint = f"did you mean {close[0]}? Otherwise " if close else ""
    raise UserError(
        f"{option}={file} does not exist: {hint}use the folder of a finished run, a .ckpt or .safetensors file, "
        "hf:user/name on the Hugging Face hub, or the name of a network that ships with the package: "
        f"{', '.join(shipped_nets())}."
    )


@cache  # one question to the hub a process, in which the file does not change
def _download(source: str, option: str, prefer_onnx: bool) -> Path:
    """File of a repository on the hub, in the hub's cache; only weights are downloaded, never a pickle or code."""
    if (match := _REPOSITORY.fullmatch(source)) is None:
        raise UserError(
            f"{option}={source} must name a repository of the Hugging Face hub: hf:user/name, hf:user/name@revision, "
            f"or one of its files, as in hf:user/name/{FILES['int8']}."
        )
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ModuleNotFoundError as error:
        raise UserError(f"{option}={source} needs {error.name}: pip install 'fer_lightning[hub]'.") from None
    repository, file, revision = match.groups()
    # Sorting is stable: in the order of FILES otherwise.
    readable = [name for name in FILES.values() if not name.endswith(".pte")]
    names = [file] if file else sorted(readable, key=lambda name: name.endswith(".onnx") != prefer_onnx)
    try:
        files = _files_of(repository, revision)
        for name in names:
            if files is None or name in files:
                try:
                    path = hf_hub_download(repository, name, revision=revision, local_files_only=files is None)
                except errors.LocalEntryNotFoundError:
                    files = None
                    continue
                log.info("%s is %s of commit %s", source, name, Path(path).parent.name)
                return Path(path)
    except errors.GatedRepoError as error:
        raise UserError(
            f"{option}={source} needs the consent of its authors: ask for it at "
            f"{constants.ENDPOINT}/{repository}, and log in by hf auth login or HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{option}={source} does not exist, or is private: correct the name, or log in as a user who can read it, "
            "by hf auth login or HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{option}={source}: {repository} has no branch, tag or commit {revision}.") from error
    except Exception as error:  # of the hub, of its transport, of the disk
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{option}={source} cannot be downloaded: {reason}") from error
    if files is not None:
        raise UserError(f"{option}={source} must hold {' or '.join(names)}, as fer export push=... writes.")
    raise UserError(
        f"{option}={source} is not in the cache of the Hugging Face hub, and {constants.ENDPOINT} cannot "
        "be reached or HF_HUB_OFFLINE is set: connect to the network, or use a file."
    )


def _files_of(repository: str, revision: str | None) -> set[str] | None:
    """Names of the files of a repository; None where the hub cannot be reached."""
    from huggingface_hub import HfApi, errors

    try:
        content = HfApi().model_info(repository, revision=revision, timeout=_PATIENCE)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise
    except Exception:  # of the transport, whose types depend on the version
        return None
    return {file.rfilename for file in content.siblings or ()}


@dataclass(frozen=True)
class StoredNet:
    """Content of a checkpoint or safetensors file: state dict of a network, fields of `TrainedNet`, and a self-test."""

    weights: Mapping[str, Tensor]
    description: dict[str, Any]
    epoch: int
    record: dict[str, Any]
    self_test: dict[str, Any] | None = None


def write_safetensors(stored: StoredNet, path: Path, half: bool) -> None:
    """Writes a network to a safetensors file.

    Args:
        stored: The network.
        path: The file, written in place; the caller renames it if needed.
        half: Store matrices and kernels as float16. Tensors of one dimension (biases, statistics of batch
            normalisation, the weights of a vote) stay float32: they are small and most sensitive to rounding.

    Raises:
        UserError: A value is too large for float16.
    """
    from safetensors.torch import save

    weights = {name: _halved(name, value) if half else value for name, value in stored.weights.items()}
    header = {part: json.dumps(getattr(stored, part)) for part in (*_PARTS, "self_test")}
    # The format accepts no tensors that share memory or are strided.
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    path.write_bytes(save(copies, {"format": "pt", **header}))  # save_file would make it readable by its owner only


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim < 2:
        return value
    rounded = value.half()
    if not rounded.isfinite().all():
        raise UserError(
            f"half=true needs weights within the range of float16; got {value.abs().max():.3g} in {name}: omit half."
        )
    return rounded


def read_safetensors(path: Path) -> StoredNet:
    """Reads a file that `write_safetensors` wrote.

    Raises:
        UserError: The file is damaged or of another program. The description is not checked here.
    """
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, ValueError, TypeError, OSError, RuntimeError) as error:
        raise _broken(path) from error
    return StoredNet(weights, **read_header(path))


def read_header(path: Path) -> dict[str, Any]:
    """Header of such a file: `description`, `epoch`, `record` and, of newer files, `self_test`, none of them checked.

    Raises:
        UserError: The file is damaged or of another program.
    """
    try:
        with safe_open(path, "np") as file:  # NumPy's reader imports no torch
            header = file.metadata() or {}
        return {part: json.loads(header[part]) for part in (*_PARTS, *({"self_test"} & header.keys()))}
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, OSError, RuntimeError) as error:
        raise _broken(path) from error


def _broken(path: Path) -> UserError:
    return UserError(f"checkpoint={path} is damaged, or was not written by fer export.")
