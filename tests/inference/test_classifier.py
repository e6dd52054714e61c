from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save

from fer_lightning.data.dataset import ExpressionDataset
from fer_lightning.deploy.onnx import export_onnx, onnx_metadata
from fer_lightning.errors import UserError
from fer_lightning.inference.classifier import normalise, open_classifier
from fer_lightning.training.checkpoints import TrainedNet, load_net, save_net

FACES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(trained_run, tmp_path_factory):
    """The trained run with a temperature, as safetensors and ONNX."""
    folder = tmp_path_factory.mktemp("files")
    trained = load_net(trained_run)
    record = {**trained.record, "calibration": {"temperature": 2.0}}
    trained = TrainedNet(trained.net, trained.classes, trained.epoch, trained.description, record)
    save_net(trained, folder / "net.safetensors", half=False)
    export_onnx(trained.net, onnx_metadata(trained, "run"), folder / "net.onnx")
    return {"torch": folder / "net.safetensors", "onnxruntime": folder / "net.onnx", "net": trained.net}


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_probabilities(files, backend):
    opened = open_classifier(str(files[backend]), threads=1)
    assert (opened.backend, opened.precision) == (backend, "float32")
    assert opened.classes == ("happy", "sad", "surprise")
    assert opened.preprocessing["image_size"] == 32 and opened.preprocessing["side"] == "none"
    image = (torch.tensor(FACES).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        wanted = (files["net"](image) / 2).softmax(dim=1).numpy()
    given = opened.probabilities(FACES)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, wanted, atol=1e-5)
    np.testing.assert_allclose(opened.probabilities(FACES[:1]), wanted[:1], atol=1e-5)
    none = opened.probabilities(FACES[:0])
    assert none.shape == (0, 3) and none.dtype == np.float32


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_the_card(files, trained_run, backend):
    card = open_classifier(str(files[backend])).card
    record = load_net(trained_run).record
    assert card["protocol"] == record["protocol"] and card["model"] == "ResNet" and card["temperature"] == 2.0
    assert card["measured"]["split"] == "test"
    assert card["measured"]["accuracy"] == record["splits"]["test"]["accuracy"]
    assert card["command"].startswith("fer train data=folder")
    assert card["source"] == str(files[backend])


@pytest.mark.parametrize("name", ["fer2013", "ferplus"])
def test_what_ships_opens_by_name_with_the_same_numbers_on_both_backends(name):
    by_torch, by_onnx = open_classifier(name, threads=1), open_classifier(name, "onnxruntime", threads=1)
    assert (by_torch.backend, by_onnx.backend) == ("torch", "onnxruntime")
    assert by_onnx.classes == by_torch.classes and by_onnx.preprocessing == by_torch.preprocessing
    assert by_onnx.card == by_torch.card
    seen = by_torch.preprocessing
    shape = (6, seen["image_size"], seen["image_size"], seen["channels"])
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    faces = np.stack([cv2.GaussianBlur(image, None, 2 * i)[..., None] if i else image for i, image in enumerate(noise)])
    wanted = by_torch.probabilities(faces)
    np.testing.assert_allclose(by_onnx.probabilities(faces), wanted, atol=1e-5)
    np.testing.assert_allclose(by_onnx.probabilities(faces[:1]), wanted[:1], atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.01  # the faces are told apart


def test_a_run_folder_and_its_checkpoint(trained_run):
    one, other = open_classifier(str(trained_run)), open_classifier(str(trained_run / "checkpoints" / "best.ckpt"))
    np.testing.assert_array_equal(one.probabilities(FACES), other.probabilities(FACES))


def foreign(path):
    given, taken = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("image", "logits"))
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["logits"])], "foreign", [given], [taken])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b""), "is broken, or not an ONNX model"),
        (lambda path: path.write_bytes(b"garbage" * 99), "is broken, or not an ONNX model"),
        (foreign, "create it with fer export"),
    ],
    ids=["missing", "empty", "garbage", "foreign"],
)
def test_bad_onnx_files(tmp_path, write, told):
    write(tmp_path / "net.onnx")
    with pytest.raises(UserError, match=told) as error:
        open_classifier(str(tmp_path / "net.onnx"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"backend": "tensorflow"}, "backend=tensorflow is unknown: use one of auto, torch, onnxruntime"),
        ({"source": "net.onnx", "backend": "torch"}, "backend must be onnxruntime for net.onnx; got torch"),
        ({"threads": 0}, "threads must be at least 1.*got 0"),
        ({"source": "nobody"}, "nobody does not exist: use .* that ships with the package: fer2013, ferplus"),
        ({"source": "fer2031"}, "fer2031 does not exist: did you mean fer2013. Otherwise use the folder of a finished"),
    ],
)
def test_what_is_refused(arguments, told):
    with pytest.raises(UserError, match=told):
        open_classifier(**{"source": "fer2013", **arguments})


def test_a_run_needs_pytorch_or_an_export(trained_run, monkeypatch):
    with pytest.raises(UserError, match=rf"needs an \.onnx file; .* fer export checkpoint={trained_run} format=onnx"):
        open_classifier(str(trained_run), "onnxruntime")
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    for backend in ("auto", "torch"):
        with pytest.raises(UserError, match=r"needs PyTorch: pip install 'fer_lightning\[train\]', or use an \.onnx"):
            open_classifier(str(trained_run), backend)


def test_a_net_that_needs_more_than_the_image(trained_run, monkeypatch):
    trained = load_net(trained_run)
    trained.description["preprocessing"]["side"] = "landmarks"
    monkeypatch.setattr("fer_lightning.training.checkpoints.load_net", lambda path: trained)
    with pytest.raises(UserError, match="needs the auxiliary input landmarks"):
        open_classifier(str(trained_run))


class Fixed:
    """A store of these images."""

    def __init__(self, images):
        self.images = images

    def batch(self, rows):
        return self.images[rows]


@pytest.mark.parametrize(("channels", "mean", "std"), [(1, [0.5], [0.25]), (3, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3])])
def test_the_same_numbers_as_in_training(channels, mean, std):
    faces = np.random.default_rng(0).integers(0, 256, (4, 20, 20, channels), dtype=np.uint8)
    training = ExpressionDataset(Fixed(faces), np.arange(4), np.zeros(4, np.int64), None, mean, std)
    seen, _ = training.__getitems__([0, 1, 2, 3])
    ours = normalise(faces, {"image_size": 20, "channels": channels, "mean": mean, "std": std})
    assert ours.dtype == np.float32 and ours.flags.c_contiguous
    np.testing.assert_allclose(ours, seen.numpy(), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 20, 21, 1), (2, 20, 20, 3), (20, 20, 1)])
def test_faces_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"faces must be uint8 \(N, 20, 20, 1\)"):
        normalise(np.zeros(shape, np.uint8), {"image_size": 20, "channels": 1, "mean": [0.5], "std": [0.25]})


def test_floats_are_no_pixels():
    with pytest.raises(ValueError, match="float32"):
        normalise(np.zeros((1, 20, 20, 1), np.float32), {"image_size": 20, "channels": 1, "mean": [0.5], "std": [0.25]})
