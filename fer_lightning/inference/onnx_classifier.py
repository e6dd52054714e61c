"""Classification of faces by ONNX Runtime or OpenVINO, and validation of the ONNX files of this project."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
from scipy.special import softmax

from fer_lightning.errors import UserError, require_known
from fer_lightning.inference.classifier import FaceClassifier, normalise
from fer_lightning.training.description import check_metadata
from fer_lightning.training.safetensors_weights import WEIGHTS

# Written as JSON into the model's metadata_props.
METADATA = ("classes", "preprocessing", "protocol", "card", "precision")


_PROVIDERS = {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}


def open_session(
    path: Path, threads: int | None, device: str = "cpu", providers: Sequence[str] | None = None
) -> onnxruntime.InferenceSession:
    """Opens an ONNX file.

    Args:
        path: Path of the file.
        threads: Number of threads of one call; None for all cores.
        device: `"cpu"` or `"cuda"`.
        providers: Execution providers, the preferred one first; None for that of the device.

    Raises:
        UserError: The file does not exist, is not an ONNX model, or refers to other files; or a provider is unknown or
            not available.
    """
    option = f"device={device}" if providers is None else "providers"
    chosen = list(_PROVIDERS[device] if providers is None else providers)
    if not chosen:
        raise UserError("providers must name at least one execution provider, or be null for that of the device.")
    for name in chosen:
        require_known("providers", name, onnxruntime.get_all_providers())
        if name not in onnxruntime.get_available_providers():
            raise UserError(
                f"{option} needs the {name} of ONNX Runtime, and the one installed here has "
                f"{', '.join(onnxruntime.get_available_providers())}: install a build that has it, such as "
                "onnxruntime-gpu for CUDA."
            )
    with _reading(path) as content:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # fatal errors; others are raised as exceptions
        # Idle threads would spin for milliseconds and take the cores from the face detector, which runs meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(content, options, providers=chosen)
        if missing := [name for name in chosen if name not in session.get_providers()]:
            raise UserError(f"{option} needs hardware or a library that the {missing[0]} does not find here.")
        return session


@contextmanager
def _reading(path: Path) -> Iterator[bytes | str]:
    """Context in which a library opens a file: its checked content, or the path of a network that ships.

    Raises:
        UserError: The file does not exist, is not an ONNX model, or refers to other files.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: create it with fer export checkpoint=... format=onnx.")
    try:
        content: bytes | str = str(path)
        # Networks that ship with the package keep their weights in the safetensors file beside them. Other files are
        # opened from memory, so that no path inside them is followed.
        if path.parent != WEIGHTS:
            content = path.read_bytes()
            _check_graph(onnx.load_model_from_string(content), path)
        yield content
    except UserError:
        raise
    except Exception as error:  # the libraries raise exceptions of many types for a broken file
        raise UserError(f"{path} is broken, or not an ONNX model: export it again with fer export.") from error


class OpenVinoSession:
    """ONNX file that OpenVINO runs on the CPU in float32, with what `OnnxClassifier` needs of ONNX Runtime's session.

    Args:
        path: Path of the file.
        threads: Number of threads of one call; None leaves the choice to OpenVINO.

    Raises:
        UserError: OpenVINO is not installed, or the file is broken.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # its import calls Google Analytics
        try:
            import openvino
        except ModuleNotFoundError:
            raise UserError("backend=openvino needs OpenVINO: pip install 'fer_lightning[openvino]'.") from None
        # On processors with bfloat16, OpenVINO would round to it.
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        with _reading(path) as content:
            core = openvino.Core()
            self._compiled = core.compile_model(core.read_model(content), "CPU", options)
            self.output_names = [name for output in self._compiled.outputs for name in output.names]
            properties = onnx.load(path, load_external_data=False).metadata_props
            self.custom_metadata_map = {entry.key: entry.value for entry in properties}

    def get_modelmeta(self) -> OpenVinoSession:
        """The object with the `custom_metadata_map`."""
        return self

    def run(self, names: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of these names."""
        outputs = self._compiled(dict(inputs))
        return [outputs[name].copy() for name in names]  # its memory is that of the next call


Session: TypeAlias = onnxruntime.InferenceSession | OpenVinoSession


def read_metadata(session: Session, path: Path) -> dict[str, Any]:
    """Metadata of the file, by the names of `METADATA`.

    Raises:
        UserError: The file was not written by this project.
    """
    try:
        properties = session.get_modelmeta().custom_metadata_map
        values = {name: json.loads(properties[name]) for name in METADATA}
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} has no metadata of classes and preprocessing: create it with fer export.") from error
    return check_metadata(values, str(path))


def check_logits(session: Session, metadata: Mapping[str, Any], path: Path) -> None:
    """Raises `UserError` where a network without auxiliary input does not return a finite logit for each class.

    The same holds for valence and arousal, if it has that output.
    """
    seen = metadata["preprocessing"]
    image = np.zeros((1, seen["channels"], seen["image_size"], seen["image_size"]), np.float32)
    try:
        logits, *affect = session.run(_outputs(session), {"image": image})
    except Exception as error:  # both libraries raise exceptions of many types
        raise UserError(
            f"{path} must accept images of its metadata's shape {image.shape[1:]}: export it again with fer export."
        ) from error
    if logits.shape != (1, len(metadata["classes"])) or not np.isfinite(logits).all():
        raise UserError(
            f"{path} must return a finite number for each of its {len(metadata['classes'])} classes: export it again "
            "with fer export."
        )
    if affect and (affect[0].shape != (1, 2) or not np.isfinite(affect[0]).all()):
        raise UserError(
            f"{path} must return valence and arousal as two finite numbers: export it again with fer export."
        )


def _outputs(session: Session) -> list[str]:
    own = isinstance(session, OpenVinoSession)
    names = session.output_names if own else [output.name for output in session.get_outputs()]  # type: ignore[union-attr]
    return ["logits", "affect"] if "affect" in names else ["logits"]


def _check_graph(model: onnx.ModelProto, path: Path) -> None:
    """Raises `UserError` for contents that `fer export` never writes: other files, custom operators, loops, NaN."""
    if strange := {node.domain for node in model.graph.node} - {"", "ai.onnx", "com.microsoft"}:
        raise UserError(f"{path} needs operators of another library ({', '.join(sorted(strange))[:80]!r}).")
    if loops := {node.op_type for node in model.graph.node} & {"If", "Loop", "Scan", "SequenceMap"}:
        raise UserError(f"{path} holds the operator {min(loops)}, which fer export never writes.")
    for weight in [*model.graph.initializer, *_constants(model)]:
        if weight.data_location == onnx.TensorProto.EXTERNAL:
            raise UserError(f"{path} keeps weights in other files, which fer export never does.")
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all() and weight.name and values.ndim > 1:
            raise UserError(f"{path}: weights must be finite numbers, and {weight.name[:80]!r} holds NaN or infinity.")


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


class OnnxClassifier(FaceClassifier):
    """`FaceClassifier` of an ONNX file of `fer export`.

    Args:
        path: Path of the file; its network has no auxiliary input.
        source: Source of the network, as the user named it.
        threads: Number of threads of one call; None for all cores.
        device: `"cpu"` or `"cuda"`.
        providers: See `open_session`.
        backend: `"onnxruntime"` or `"openvino"`, which ignores device and providers.

    Raises:
        UserError: The file does not exist, or was not written by `fer export`; see also `open_session`.
    """

    def __init__(
        self,
        path: Path,
        source: str,
        threads: int | None,
        device: str = "cpu",
        providers: Sequence[str] | None = None,
        backend: str = "onnxruntime",
    ) -> None:
        self.backend = "openvino" if backend == "openvino" else "onnxruntime"
        self.session: Session
        if backend == "openvino":
            self.session = OpenVinoSession(path, threads)
        else:
            self.session = open_session(path, threads, device, providers)
        metadata = read_metadata(self.session, path)
        if metadata["preprocessing"]["side"] == "none":
            check_logits(self.session, metadata, path)
        self.classes = tuple(metadata["classes"])
        self.preprocessing = metadata["preprocessing"]
        self.card = {**metadata["card"], "source": source}
        self.precision = metadata["precision"]
        self._outputs = _outputs(self.session)
        self.has_affect = "affect" in self._outputs

    def classify(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        if not len(faces):
            return np.zeros((0, len(self.classes) + 2 * self.has_affect), np.float32)
        logits, *affect = self.session.run(self._outputs, {"image": normalise(faces, self.preprocessing)})
        return np.concatenate([softmax(logits / np.float32(self.card["temperature"]), axis=1), *affect], axis=1)

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """See `FaceClassifier`."""
        raise UserError(
            f"{self.card['source']} is opened as an ONNX file, which returns no features: use backend=torch for a "
            "network that ships with the package, or the run that an .onnx file was exported from; both need PyTorch: "
            "pip install 'fer_lightning[train]'."
        )
