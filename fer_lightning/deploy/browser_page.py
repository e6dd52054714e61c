"""Static page that recognises expressions in the browser: its network, its face detector, and the files of the site."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_lightning.errors import UserError
from fer_lightning.files import writing
from fer_lightning.inference.card import DATASET_NAMES
from fer_lightning.inference.classifier import FaceClassifier, open_classifier
from fer_lightning.inference.face_detector import MODEL
from fer_lightning.plots.text import percent
from fer_lightning.training.safetensors_weights import find_checkpoint

SOURCES = Path(__file__).parent / "templates" / "page"
# Of onnxruntime-web: the build for one or more threads of the processor, as one module and its WebAssembly.
_RUNTIME = {"onnxruntime.js": "ort.wasm.bundle.min.mjs", "onnxruntime.bin": "ort-wasm-simd-threaded.wasm"}


def write_page(source: str, folder: Path) -> int:
    """Writes a page that any static host can serve, and that contacts no other one.

    Args:
        source: `.onnx` file of `fer export`, `hf:user/name`, or name of a network that ships with the package.
        folder: Folder of the page; files of an earlier page are replaced.

    Returns:
        Size of all files in bytes, which is what a browser loads.

    Raises:
        UserError: npm is missing or fails, ONNX Runtime cannot open the network, or the folder cannot be written.
    """
    _npm()
    classifier = open_classifier(source, backend="onnxruntime", threads=1)
    path = find_checkpoint(source, backend="onnxruntime").with_suffix(".onnx")
    with TemporaryDirectory() as scratch, writing(folder):
        site = Path(scratch, "site")
        shutil.copytree(SOURCES, site, ignore=shutil.ignore_patterns("package*.json", "node_modules"))
        runtime = install_packages(Path(scratch), "--omit=dev") / "onnxruntime-web" / "dist"
        for name, original in _RUNTIME.items():
            content = (runtime / original).read_bytes()
            (site / name).write_bytes(gzip.compress(content, 9, mtime=0) if name.endswith(".bin") else content)
        onnx.save(detector_graph(), site / "detector.onnx")
        onnx.save(onnx.load(path), site / "net.onnx")  # in one file, also where weights lie beside it
        (site / "net.json").write_text(json.dumps(_about(classifier)) + "\n", encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(site.iterdir()):
            shutil.copyfile(file, folder / file.name)
        return sum(file.stat().st_size for file in site.iterdir())


def install_packages(folder: Path, *options: str) -> Path:
    """Installs the npm packages of the page in a folder, as its lock file pins them, and returns `node_modules`.

    None of their scripts is run; `options` are those of `npm ci`.

    Raises:
        UserError: npm is missing or fails.
    """
    for file in SOURCES.glob("package*.json"):
        shutil.copyfile(file, folder / file.name)
    command = [_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), "no message")
        raise UserError(f"npm could not install the packages of the page ({reason}): is its registry reachable?")
    return folder / "node_modules"


def _npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("format=page needs npm, which is not installed: install Node.js, as by apt-get install npm.")
    return npm


def _about(classifier: FaceClassifier) -> dict[str, Any]:
    card, measured = classifier.card, classifier.card["measured"]
    dataset = card["protocol"]["dataset"]
    about = f"The network is {card['model']}, trained on {DATASET_NAMES.get(dataset, dataset)}"
    if measured:
        about += f"; it is right on {percent(measured['accuracy'])} of {measured['n']:,} faces that it had not seen"
    return {
        "classes": list(classifier.classes),
        "preprocessing": {name: classifier.preprocessing[name] for name in ("image_size", "channels", "mean", "std")},
        "temperature": card["temperature"],
        "about": f"{about}.",
    }


def detector_graph() -> onnx.ModelProto:
    """BlazeFace, which ships as a TFLite file, as an ONNX graph with the same weights in 16 bits.

    Its input is `image`, float32 `(1, 3, 128, 128)` in -1..1; its outputs are `boxes`, `(1, 896, 16)`: centre, size and
    six points of the face of each anchor, in pixels from the anchor, and `scores`, `(1, 896, 1)`: their logits.

    Example:
        >>> [result.name for result in detector_graph().graph.output]
        ['boxes', 'scores']
    """
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(MODEL.read_bytes(), 0))
    graph = model.subgraphs[0]
    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    outputs = dict(zip(graph.outputs, ("boxes", "scores")))
    names = {graph.inputs[0]: "image", **outputs}
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    halves: dict[int, np.ndarray] = {}

    def name_of(tensor: int) -> str:
        return names.get(tensor, f"t{tensor}")

    def stored(tensor: int, dtype: type) -> np.ndarray:
        content = np.asarray(model.buffers[graph.tensors[tensor].buffer].data, np.uint8)
        return content.view(dtype).reshape(graph.tensors[tensor].shape)

    def constant(name: str, values: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    for step in graph.operators:
        code = model.operatorCodes[step.opcodeIndex]
        kind, options = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)], step.builtinOptions
        first, output = name_of(step.inputs[0]), name_of(step.outputs[0])
        if kind == "DEQUANTIZE":  # weights are stored in 16 bits
            halves[step.outputs[0]] = stored(step.inputs[0], np.float16)
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            depthwise = kind == "DEPTHWISE_CONV_2D"
            kernel = halves[step.inputs[1]].transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
            weights = [
                add("Cast", [constant(f"{output}.{name}.half", values)], f"{output}.{name}", to=TensorProto.FLOAT)
                for name, values in (("kernel", kernel), ("bias", halves[step.inputs[2]]))
            ]
            padding = "SAME_UPPER" if options.padding == schema.Padding.SAME else "VALID"
            strides, group = [options.strideH, options.strideW], len(kernel) if depthwise else 1
            add("Conv", [first, *weights], output, auto_pad=padding, strides=strides, group=group)
        elif kind in ("ADD", "RELU"):
            add(kind.title(), [name_of(tensor) for tensor in step.inputs], output)
        elif kind == "PAD":  # rows before and after, of height, width and channels
            pads = stored(step.inputs[1], np.int32)[[0, 3, 1, 2]].T.ravel().astype(np.int64)
            add("Pad", [first, constant(f"{output}.pads", pads)], output)
        elif kind == "MAX_POOL_2D":
            add("MaxPool", [first], output, kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "RESHAPE":
            last = add("Transpose", [first], f"{output}.last", perm=[0, 2, 3, 1])
            add("Reshape", [last, constant(f"{output}.shape", options.newShape.astype(np.int64))], output)
        else:
            assert kind == "CONCATENATION", kind
            add("Concat", [name_of(tensor) for tensor in step.inputs], output, axis=1)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 128, 128])
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, graph.tensors[tensor].shape.tolist())
        for tensor, name in outputs.items()
    ]
    return helper.make_model(
        helper.make_graph(nodes, "BlazeFace", [image], results, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
