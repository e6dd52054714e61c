from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from fer_lightning.deploy.onnx import export_onnx, write_onnx
from fer_lightning.inference.onnx_classifier import open_session
from fer_lightning.deploy.quantization import METHODS, quantize

SEEN = {"preprocessing": {"image_size": 8, "channels": 1, "side": "none"}}


class Small(nn.Module):
    """Convolutions, a product of activations and a linear head."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, image):
        tokens = self.second(self.first(image).relu()).flatten(2)
        return self.head((tokens @ tokens.transpose(1, 2)).softmax(dim=2).mean(dim=1) + tokens.mean(dim=2))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The network in float32, its int8 forms by method, and the images that set their ranges."""
    folder = tmp_path_factory.mktemp("int8")
    torch.manual_seed(0)
    export_onnx(Small().eval(), SEEN, folder / "float.onnx")
    batches = [{"image": np.random.default_rng(seed).normal(size=(20, 1, 8, 8)).astype(np.float32)} for seed in (0, 1)]
    for method in METHODS:
        write_onnx(quantize(folder / "float.onnx", batches, method), {"precision": "int8"}, folder / f"{method}.onnx")
    return folder, batches


@pytest.mark.parametrize("method", METHODS)
def test_close_to_float(files, method):
    folder, batches = files
    image = {"image": np.concatenate([batch["image"] for batch in batches])}
    (whole,), (integer,) = (
        open_session(folder / f"{name}.onnx", threads=1).run(None, image) for name in ("float", method)
    )
    spread = whole.max() - whole.min()
    assert 0 < np.abs(whole - integer).max() < 0.1 * spread


def test_weights_are_integers_with_a_scale_a_channel(files):
    model = onnx.load(files[0] / "minmax.onnx")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kernels = [value for value in tensors.values() if value.dtype == np.int8 and value.ndim == 4]
    assert kernels and all(np.abs(kernel).reshape(len(kernel), -1).max(axis=1).min() == 127 for kernel in kernels)
    assert json.loads(model.metadata_props[0].value) == "int8"


def test_products_of_activations_stay_float(files):
    """Their inputs are no output of a DequantizeLinear."""
    model = onnx.load(files[0] / "minmax.onnx")
    maker = {output: node.op_type for node in model.graph.node for output in node.output}
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert products and all(maker.get(name) != "DequantizeLinear" for node in products for name in node.input)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert any(maker.get(node.input[0]) == "DequantizeLinear" for node in convolutions)
