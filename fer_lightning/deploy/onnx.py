"""Export of a network to ONNX with metadata, in floating point or quantised to 8-bit integers.

Integers take a quarter of the size and about half of the time. Source: Jacob et al., "Quantization and training of
neural networks for efficient integer-arithmetic-only inference", CVPR 2018, equation 1; static, calibrated on images.

Readings:
    - Only convolutions and fully connected layers are quantised. Products of two activations (attention) and fixed
      transforms (the cosine transform of PsySFA-Net) stay in floating point: quantised, they cost PsySFA-Net on
      FER2013 4.7 points of accuracy instead of 0.3, and saved no time.
    - So do convolutions of the image itself, and depthwise ones. They have few weights, and the ranges of their
      channels differ most: HAFEM-lite on FER2013 loses 0.4 points without them and 8.7 with them.
    - Large weights that compute in floating point are stored as integers with a scale per channel all the same, which
      makes the file of a small network a quarter smaller.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import Tensor, nn

from fer_lightning import __version__
from fer_lightning.data.auxiliary import SIDE_SIZES
from fer_lightning.deploy.parity import self_test, torch_compute
from fer_lightning.errors import UserError
from fer_lightning.inference.card import card_of
from fer_lightning.models.affect import classes_and_affect
from fer_lightning.training.checkpoints import TrainedNet, load_net

_LARGEST_BATCH = 65536
_TRACED = 2  # images; torch.export treats a batch of one as a constant
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
_PERCENTILE = 99.99
_INTEGER = ["Conv", "Gemm"]
_FEWEST_CHANNELS = 4  # input channels per output of a quantised convolution
_FEWEST_WEIGHTS = 4000  # of a tensor that is only stored as integers


def onnx_metadata(trained: TrainedNet, source: str) -> dict[str, Any]:
    """Metadata of an exported file, see `METADATA`."""
    description = trained.description
    return {
        "classes": list(trained.classes),
        "preprocessing": description["preprocessing"],
        "protocol": description["protocol"],
        "card": card_of(trained, source),
        "precision": "float32",
    }


def export_onnx(net: nn.Module, metadata: Mapping[str, Any], path: Path) -> None:
    """Writes a network as ONNX with a batch of any size.

    Its inputs are `image`, float32 `(batch, C, S, S)`, normalised, and `side`, float32 `(batch, V)`, where the network
    has an auxiliary input; its output is `logits`, float32 `(batch, K)`, and of a network that takes images alone and
    predicts valence and arousal also `affect`, float32 `(batch, 2)`.

    Args:
        net: Network in evaluation mode on the CPU.
        metadata: Metadata of the file, see `onnx_metadata`.
        path: Path of the file.

    Raises:
        UserError: PyTorch cannot write this network as ONNX.
    """
    write_onnx(_without_traces(_trace(net, metadata)), _with_self_test(net, metadata), path)


def export_graph(weights: Path) -> Path:
    """Writes a network as ONNX beside its `.safetensors` file, which keeps the weights.

    Tensors of that file are external data of the ONNX file, which holds the graph and what the export computed from
    weights, such as transposed matrices.

    Args:
        weights: File of `fer export`, in 16 or 32 bits.

    Returns:
        Path of the ONNX file.
    """
    trained = load_net(weights)
    metadata = onnx_metadata(trained, weights.stem)
    # PyTorch's optimisation would merge batch normalisation with the weights, which ONNX Runtime does later.
    model = _without_traces(_trace(trained.net, metadata, optimize=False))
    fold_constants(model)
    remove_unused_nodes(model)
    places = _places(weights)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.tobytes() not in places:
            continue
        kind, offset, length = places[values.tobytes()]
        name = tensor.name
        if kind == onnx.TensorProto.FLOAT16:
            tensor.name = f"{name}.half"
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
        tensor.ClearField("raw_data")
        tensor.data_type, tensor.data_location = kind, onnx.TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = weights.with_suffix(".onnx")
    write_onnx(model, _with_self_test(trained.net, metadata), path)
    return path


def _with_self_test(net: nn.Module, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if "card" not in metadata:
        return dict(metadata)
    test = self_test(torch_compute(net), metadata["preprocessing"], metadata["card"]["temperature"])
    return {**metadata, "self_test": test}


def _places(weights: Path) -> dict[bytes, tuple[int, int, int]]:
    """Type, offset and length of the tensors of a safetensors file, by their content in float32."""
    content = weights.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    kinds = {"F16": (np.float16, onnx.TensorProto.FLOAT16), "F32": (np.float32, onnx.TensorProto.FLOAT)}
    places: dict[bytes, tuple[int, int, int]] = {}
    for entry in json.loads(content[8:start]).values():
        if entry.get("dtype") in kinds:
            dtype, kind = kinds[entry["dtype"]]
            offset, end = (start + place for place in entry["data_offsets"])
            values = np.frombuffer(content[offset:end], dtype)
            places[values.astype(np.float32).tobytes()] = (kind, offset, end - offset)
    return places


def _trace(net: nn.Module, metadata: Mapping[str, Any], optimize: bool = True) -> onnx.ModelProto:
    """Graph of a network; `optimize` lets PyTorch simplify it."""
    traced, inputs, outputs = traceable(net, metadata["preprocessing"], _TRACED)
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    try:
        with torch.no_grad(), quiet():
            program = torch.onnx.export(
                traced,
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                input_names=list(inputs),
                output_names=outputs,
                verbose=False,
                optimize=optimize,
            )
    except ImportError as error:
        raise UserError(f"ONNX needs the package {error.name}: pip install 'fer_lightning[onnx]'.") from error
    except Exception as error:  # the exporter wraps exceptions of its steps
        raise UserError(f"{type(net).__name__} cannot be written as ONNX: {reason(error)}") from error
    assert program is not None
    model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise UserError(
            f"{type(net).__name__} cannot be written as ONNX: its code makes the number of images a constant, as "
            "len(image) does; use image.shape[0]."
        )
    return model


def traceable(
    net: nn.Module, preprocessing: Mapping[str, Any], images: int
) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """What an exporter traces: the module, its inputs for so many images by name, and the names of its outputs."""
    size = preprocessing["image_size"]
    inputs = {"image": torch.zeros(images, preprocessing["channels"], size, size)}
    if preprocessing["side"] != "none":
        return net, {**inputs, "side": torch.zeros(images, SIDE_SIZES[preprocessing["side"]])}, ["logits"]
    if hasattr(net, "affect_head"):
        return _ClassesAndAffect(net), inputs, ["logits", "affect"]
    return net, inputs, ["logits"]


class _ClassesAndAffect(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return classes_and_affect(self.net, image)


def write_onnx(model: onnx.ModelProto, metadata: Mapping[str, Any], path: Path) -> None:
    """Writes a model with this metadata, replacing any that it has.

    The fields that other programs show are set as well: producer, version, description, and the temperature that
    divides the logits before the softmax.
    """
    del model.metadata_props[:]
    entries = dict(metadata)
    model.producer_name, model.producer_version, model.model_version = "fer_lightning", __version__, 1
    if card := metadata.get("card"):
        entries["temperature"] = card["temperature"]
        model.doc_string = (
            f"{card['model']}: facial expressions ({', '.join(metadata['classes'])}). Probabilities are the softmax of "
            f"the logits divided by {card['temperature']:.6g}. Trained with: {card['command'] or 'an unknown command'}."
        )
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in entries.items()})
    onnx.save(model, path)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Model without the source files of this machine that the exporter records for every node."""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses messages of exporters and of ONNX Runtime's quantisation for developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def reason(error: BaseException) -> str:
    """First line of the innermost error, which names the unsupported operation."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0]


def quantize(source: Path, batches: Sequence[Mapping[str, np.ndarray]], method: str) -> onnx.ModelProto:
    """Quantises an ONNX file: weights to int8 with a scale per channel, activations to uint8 with one per tensor.

    Args:
        source: File in float32.
        batches: Inputs by name for the calibration of the activations.
        method: Key of `METHODS`: `minmax` for the full range of values, `percentile` for 99.99 % of them.
    """
    with TemporaryDirectory() as folder, quiet():
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        # Batch normalisation and constants are folded first, because folded operations need no scale.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantized),
            _Reader(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_INTEGER,
            nodes_to_exclude=_thin_convolutions(onnx.load(prepared)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[method],
            extra_options={"CalibPercentile": _PERCENTILE},
        )
        model = onnx.load(quantized)
    _store_as_integers(model.graph)
    return model


def _store_as_integers(graph: onnx.GraphProto) -> None:
    """Stores the large weights that are left in float32 as int8, with the scale of a channel as for the others."""
    large = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= _FEWEST_WEIGHTS
    }
    for node in [node for node in graph.node if node.op_type in {"Conv", "MatMul"} and node.input[1] in large]:
        weight = onnx.numpy_helper.to_array(large[node.input[1]])
        axis = 0 if node.op_type == "Conv" else weight.ndim - 1
        others = tuple(other for other in range(weight.ndim) if other != axis)
        scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True) / 127, np.finfo(np.float32).tiny)
        stored, factor, cast, restored = (
            f"{node.input[1]}_{node.name}_{i}" for i in ("int8", "scale", "float", "used")
        )
        values = np.round(weight / scale).astype(np.int8), scale
        graph.initializer.extend(map(onnx.numpy_helper.from_array, values, (stored, factor)))
        # Unlike DequantizeLinear, these are computed once, when the file is loaded.
        graph.node.insert(0, onnx.helper.make_node("Mul", [cast, factor], [restored], name=restored))
        graph.node.insert(0, onnx.helper.make_node("Cast", [stored], [cast], name=cast, to=onnx.TensorProto.FLOAT))
        node.input[1] = restored
    used = {name for node in graph.node for name in node.input}
    for name in large.keys() - used:
        graph.initializer.remove(large[name])


def _thin_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions of the image and of depthwise convolutions."""
    channels = {weight.name: weight.dims[1] for weight in model.graph.initializer if len(weight.dims) > 1}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return [node.name for node in convolutions if channels.get(node.input[1], 0) < _FEWEST_CHANNELS]


class _Reader(CalibrationDataReader):
    def __init__(self, batches: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._left, None)
