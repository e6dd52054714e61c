from __future__ import annotations

import json
from dataclasses import replace

import hydra
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from fer_lightning.commands.instantiate import build_net
from fer_lightning.data.auxiliary import SIDE_SIZES
from fer_lightning.deploy.onnx import METHODS, export_graph, export_onnx, onnx_metadata, quantize, write_onnx
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.inference.onnx_classifier import open_session, read_metadata
from fer_lightning.models.weighted_voting import WeightedVoting
from fer_lightning.training.checkpoints import TrainedNet, load_net, save_net

PSYSFA = [
    "model=psysfa_net",
    "model.num_filters=3",
    "model.widths=[8,8,32]",
    "model.fusion_dim=32",
    "model.embed_dim=8",
]
SLOW = pytest.mark.slow
ARCHITECTURES = [
    pytest.param(PSYSFA, id="psysfa_net"),
    pytest.param(["model=multimodal_fusion", "model.widths=[8,8,8,8]"], id="multimodal_fusion", marks=SLOW),
    pytest.param(["model=resnet", "model.widths=[8,8,8,8]"], id="resnet", marks=SLOW),
    pytest.param(["model=multimodal_emotion", "model.widths=[8,8,8,8]"], id="multimodal_emotion", marks=SLOW),
    pytest.param([*PSYSFA, "model.texture=gabor", "model.band=all", "model.fusion=concat"], id="gabor", marks=SLOW),
    pytest.param([*PSYSFA, "model.texture=lbp_cnn"], id="lbp_cnn", marks=SLOW),
    pytest.param([*PSYSFA, "model.texture=lbp"], id="lbp", marks=SLOW),
    pytest.param([*PSYSFA, "model.texture=gabor_cnn"], id="gabor_cnn", marks=SLOW),
    pytest.param(["model=attention_cnn"], id="attention_cnn", marks=SLOW),
    pytest.param(["model=attention_transformer", "model.depth=1"], id="attention_transformer", marks=SLOW),
    pytest.param(["model=dan"], id="dan", marks=SLOW),
    pytest.param(["model=two_stage"], id="two_stage", marks=SLOW),
    pytest.param(["model=vit", "model.depth=1"], id="vit", marks=SLOW),
    pytest.param(["model=hafem_lite", "model.pretrained=none"], id="hafem_lite", marks=SLOW),
    pytest.param(["model=hafem", "model.backbone=efficientnet_b0"], id="hafem", marks=SLOW),
    pytest.param(["model=timm", "model.name=convnext_atto"], id="convnext", marks=SLOW),
    pytest.param(["model=timm", "model.name=mobilenetv3_small_050"], id="mobilenet", marks=SLOW),
    pytest.param(
        ["model=timm", "model.name=swin_tiny_patch4_window7_224", "model.stem_stride=4", "data.image_size=56"],
        id="swin",
        marks=SLOW,
    ),
]
PROTOCOL = dict.fromkeys(("release", "label_rule", "split", "selection", "test", "fingerprint"), "x")
PROTOCOL |= {"dataset": "fer2013", "classes": ["a", "b", "c", "d"], "counts": {}}
RESNET = {"_target_": "fer_lightning.models.resnet.ResNet", "widths": [8, 8, 8, 8]}
SEEN = {"preprocessing": {"image_size": 8, "channels": 1, "side": "none"}}


def trained(options: list[str]) -> TrainedNet:
    """A network that was never trained; it takes 48 pixels where the options name no other size."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", options)
    torch.manual_seed(0)
    net = build_net(cfg, 4).eval()
    seen = {"image_size": cfg.data.image_size, "channels": 1, "mean": [0.5], "std": [0.25], "align": False}
    description = {"model": {}, "protocol": {"dataset": "synthetic"}, "data": {}}
    description["preprocessing"] = {**seen, "side": cfg.data.side}
    return TrainedNet(net, ("a", "b", "c", "d"), 1, description)


def check(given: TrainedNet, path) -> None:
    """Batches of one and five, of noise, agree with PyTorch."""
    export_onnx(given.net, onnx_metadata(given, "here"), path)
    session = open_session(path, threads=1)
    seen = given.description["preprocessing"]
    rng = np.random.default_rng(0)
    for count in (1, 5):
        inputs = {"image": rng.normal(size=(count, 1, seen["image_size"], seen["image_size"])).astype(np.float32)}
        if seen["side"] != "none":
            inputs["side"] = rng.normal(size=(count, SIDE_SIZES[seen["side"]])).astype(np.float32)
            inputs["side"][:, 0] = np.arange(count) % 2
        (logits,) = session.run(None, inputs)
        with torch.inference_mode():
            wanted = given.net(*map(torch.from_numpy, inputs.values())).numpy()
        assert logits.shape == (count, 4)
        np.testing.assert_allclose(logits, wanted, atol=1e-4)
        assert wanted.std() > 1e-3  # else any constant would do


@pytest.mark.parametrize("options", ARCHITECTURES)
def test_computes_what_pytorch_computes(options, tmp_path):
    check(trained(options), tmp_path / "net.onnx")


@pytest.mark.slow
def test_a_vote_is_one_file(tmp_path):
    members = [trained(PSYSFA), trained(["model=resnet", "model.widths=[8,8,8,8]"])]
    vote = WeightedVoting(num_classes=4, members=[member.net for member in members]).eval()
    vote.weights.copy_(torch.tensor([0.3, 0.7]))
    check(TrainedNet(vote, members[0].classes, 1, members[0].description), tmp_path / "vote.onnx")


class Tiny(nn.Module):
    """The mean of an image, as four logits."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 4)

    def forward(self, image):
        return self.head(image.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def tiny():
    description = {"model": {}, "protocol": PROTOCOL, "data": {}}
    seen = {"image_size": 16, "channels": 1, "mean": [0.5], "std": [0.25], "align": False, "side": "none"}
    description["preprocessing"] = seen
    record = {"calibration": {"temperature": 1.5}, "splits": {}, "overrides": ["data=fer2013"], "seed": 4}
    return TrainedNet(Tiny().eval(), ("a", "b", "c", "d"), 1, description, record)


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export_onnx(tiny.net, onnx_metadata(tiny, "runs/tiny"), path)
    return path


def test_metadata_comes_back(tiny, tiny_file):
    session = open_session(tiny_file, threads=1)
    told = read_metadata(session, tiny_file)
    assert told == onnx_metadata(tiny, "runs/tiny")
    assert told["classes"] == ["a", "b", "c", "d"] and told["precision"] == "float32"
    assert told["card"]["temperature"] == 1.5 and told["card"]["command"] == "fer train data=fer2013 seed=4"
    assert [(part.name, part.shape[1:]) for part in session.get_inputs()] == [("image", [1, 16, 16])]
    assert [(part.name, part.shape[1:]) for part in session.get_outputs()] == [("logits", [4])]


def test_other_programs_see_what_it_is(tiny_file):
    shown = open_session(tiny_file, threads=1).get_modelmeta()
    assert (shown.producer_name, shown.version) == ("fer_lightning", 1)
    assert shown.description.startswith("Tiny: facial expressions (a, b, c, d). ") and "1.5" in shown.description
    assert float(shown.custom_metadata_map["temperature"]) == 1.5
    assert onnx.load(tiny_file).producer_version


def test_no_source_file_of_the_exporting_machine_is_named(tiny_file):
    assert b".py" not in tiny_file.read_bytes()


def test_metadata_is_replaced_not_added_to(tiny_file, tmp_path):
    write_onnx(onnx.load(tiny_file), {"precision": "int8"}, tmp_path / "other.onnx")
    props = onnx.load(tmp_path / "other.onnx").metadata_props
    assert [(prop.key, prop.value) for prop in props] == [("precision", '"int8"')]


@pytest.mark.parametrize("half", [True, False])
def test_a_graph_whose_weights_stay_in_the_safetensors_file(half, tmp_path):
    vote = trained(["model=resnet", "model.widths=[8,8,8,8]"])
    description = {**vote.description, "model": RESNET, "classes": list(vote.classes), "protocol": PROTOCOL}
    weights = tmp_path / "net.safetensors"
    save_net(replace(vote, description=description), weights, half)
    path = export_graph(weights)
    model = onnx.load(path, load_external_data=False)
    kept = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_location}
    assert any(name.endswith("conv1.weight.half") for name in kept) == half and len(kept) > 10
    assert {entry.value for tensor in kept.values() for entry in tensor.external_data[:1]} == {weights.name}
    assert b".py" not in path.read_bytes()
    image = np.random.default_rng(0).normal(size=(3, 1, 48, 48)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(path).run(None, {"image": image})
    with torch.inference_mode():
        wanted = load_net(weights).net(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    with pytest.raises(UserError, match="keeps weights in other files"):  # only what ships may do that
        open_session(path, threads=1)


class Stubborn(nn.Module):
    """Does what no graph can: what it computes next depends on a number."""

    def forward(self, image):
        return image if image.sum() > 0 else -image


class Counting(nn.Module):
    """Makes the number of images a constant of the graph."""

    def forward(self, image):
        return image.mean(dim=(1, 2, 3))[:, None].expand(len(image), 4)


def test_a_batch_that_became_a_constant_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="Counting cannot be written as ONNX: its code makes the number of images"):
        export_onnx(Counting(), onnx_metadata(tiny, ""), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_one_sentence(tiny, tmp_path):
    with pytest.raises(UserError, match="Stubborn cannot be written as ONNX: ") as told:
        export_onnx(Stubborn(), onnx_metadata(tiny, ""), tmp_path / "net.onnx")
    assert "\n" not in str(told.value) and not list(tmp_path.iterdir())


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


class Depthwise(nn.Module):
    """Its depthwise convolution and its product with tokens have 4,608 and 8,192 weights and compute in float."""

    def __init__(self):
        super().__init__()
        self.widen = nn.Conv2d(1, 512, 1)
        self.depthwise = nn.Conv2d(512, 512, 3, groups=512)
        self.mix = nn.Parameter(torch.randn(512, 16) / 20)

    def forward(self, image):
        return (self.depthwise(self.widen(image)).flatten(2).transpose(1, 2) @ self.mix).mean(dim=1)


def test_large_weights_that_compute_in_float_are_stored_as_integers(tmp_path):
    torch.manual_seed(0)
    export_onnx(Depthwise().eval(), SEEN, tmp_path / "float.onnx")
    images = {"image": np.random.default_rng(0).normal(size=(20, 1, 8, 8)).astype(np.float32)}
    write_onnx(quantize(tmp_path / "float.onnx", [images], "minmax"), {"precision": "int8"}, tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(model)
    stored = {tuple(tensor.dims): numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored[512, 1, 3, 3].dtype == stored[512, 16].dtype == np.int8
    whole, integer = (
        open_session(tmp_path / name, threads=1).run(None, images)[0] for name in ("float.onnx", "int8.onnx")
    )
    assert 0 < np.abs(whole - integer).max() < 0.05 * np.ptp(whole)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.45 * (tmp_path / "float.onnx").stat().st_size
