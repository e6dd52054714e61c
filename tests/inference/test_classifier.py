from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save

from fer_lightning.data.dataset import ExpressionDataset
from fer_lightning.deploy.onnx import export_onnx, onnx_metadata
from fer_lightning.errors import UserError
from fer_lightning.inference.classifier import DetectedFaces, classify_ahead, normalise, open_classifier, views_of
from fer_lightning.models.weighted_voting import views
from fer_lightning.training.checkpoints import TrainedNet, load_net, save_net

FACES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(trained_run, tmp_path_factory):
    """The trained run with a temperature, as safetensors and ONNX."""
    folder = tmp_path_factory.mktemp("files")
    trained = load_net(trained_run)
    record = {**trained.record, "calibration": {"temperature": 2.0, "tau": 0.5}}
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


@pytest.mark.parametrize("name", ["fer2013", "ferplus", "run"])
def test_openvino_gives_the_numbers_of_pytorch(files, name):
    pytest.importorskip("openvino")
    by_torch = open_classifier(str(files["torch"]) if name == "run" else name, "torch", threads=1)
    opened = open_classifier(str(files["onnxruntime"]) if name == "run" else name, "openvino", threads=1)
    assert (opened.backend, opened.precision, opened.classes) == ("openvino", "float32", by_torch.classes)
    assert opened.card["temperature"] == by_torch.card["temperature"]
    size = by_torch.preprocessing["image_size"]
    noise = np.random.default_rng(0).integers(0, 256, (6, size, size, 1), dtype=np.uint8)
    faces = np.stack([cv2.GaussianBlur(image, None, 2 * i)[..., None] if i else image for i, image in enumerate(noise)])
    wanted = by_torch.probabilities(faces)
    given = opened.probabilities(faces)
    np.testing.assert_allclose(given, wanted, atol=1e-4)
    assert (given.argmax(axis=1) == wanted.argmax(axis=1)).all() and given.dtype == np.float32
    np.testing.assert_allclose(opened.probabilities(faces[:1]), given[:1], atol=1e-5)
    np.testing.assert_allclose(given, wanted, atol=1e-4)  # the memory of an answer is not used again


def test_openvino_starts_without_its_telemetry(tmp_path):
    pytest.importorskip("openvino")
    program = (
        "import sys; sys.modules['torch'] = None; from fer_lightning.inference.classifier import open_classifier; "
        "print(open_classifier('ferplus', 'openvino').backend, sys.modules['openvino_telemetry'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "openvino None\n", done.stderr
    assert not list(tmp_path.iterdir())  # where it would keep a client's id


def test_what_openvino_does_not_do(files, monkeypatch):
    for option in ({"device": "cuda"}, {"providers": ["CPUExecutionProvider"]}):
        with pytest.raises(UserError, match="backend=openvino computes on the CPU, and has no providers"):
            open_classifier(str(files["onnxruntime"]), "openvino", **option)
    with pytest.raises(UserError, match=r"backend=openvino needs an \.onnx file"):
        open_classifier(str(files["torch"]), "openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)  # as where it is not installed
    with pytest.raises(UserError, match=r"needs OpenVINO: pip install 'fer_lightning\[openvino\]'"):
        open_classifier("ferplus", "openvino")


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
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_bad_onnx_files(tmp_path, write, told, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    write(tmp_path / "net.onnx")
    with pytest.raises(UserError, match=told) as error:
        open_classifier(str(tmp_path / "net.onnx"), backend)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"backend": "tensorflow"}, "backend=tensorflow is unknown: use one of auto, torch, onnxruntime, openvino"),
        ({"source": "net.onnx", "backend": "torch"}, "backend must be onnxruntime or openvino for net.onnx; got torch"),
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


class Pictures:
    """Pictures 0, 1, ..., each with `number % 4` faces of its own shade, and a network that returns the shade."""

    def __init__(self, side=8):
        self.side, self.asked, self.detected, self.sizes = side, 0, 0, []

    def numbers(self):
        while True:
            yield self.asked
            self.asked += 1

    def detect(self, number):
        assert threading.current_thread() is threading.main_thread()  # MediaPipe's detector has one thread
        if number == 70:
            raise KeyboardInterrupt
        self.detected += 1
        crops = np.full((number % 4, 4, 4, 1), number, np.uint8)
        return DetectedFaces(number, np.zeros((self.side, self.side, 3), np.uint8), [], crops)

    def classify(self, crops):
        self.sizes.append(len(crops))
        return crops[:, 0, 0].astype(np.float32)


def fer_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fer_")]


@pytest.mark.parametrize(
    ("batch_size", "pictures", "side", "expected"),
    [(6, 16, 8, 6), (64, 16, 8, 24), (2, 100, 8, 2), (64, 16, 2000, 11), (64, 1, 8, 3)],
)
def test_faces_are_classified_together_in_the_order_of_their_pictures(batch_size, pictures, side, expected):
    """By whichever limit is reached first: faces, pictures, or bytes (six of 12 MB); the last is for live pictures."""
    of = Pictures(side)
    read = lambda number: number if number < 50 else None  # noqa: E731
    given = list(classify_ahead(of.classify, of.numbers(), read, of.detect, batch_size, pictures))
    assert [each.source for each in given] == list(range(50))
    for each in given:
        np.testing.assert_array_equal(each.outputs, np.full((each.source % 4, 1), each.source, np.float32))
    assert max(of.sizes) == expected and sum(of.sizes) == sum(number % 4 for number in range(50))
    assert not fer_threads()


def test_what_was_detected_before_an_interrupt_is_still_classified():
    of, given = Pictures(), []
    with pytest.raises(KeyboardInterrupt):
        given.extend(each.source for each in classify_ahead(of.classify, of.numbers(), abs, of.detect, 64, 16))
    assert given == list(range(70)) and of.asked < 75 and not fer_threads()


@pytest.mark.parametrize("part", ["read", "classify"])
def test_an_error_of_a_thread_ends_both(part):
    def fails(values):
        if np.max(values) >= 40:
            raise MemoryError("of the test")
        return np.zeros((np.size(values) // 16, 1)) if part == "classify" else values

    of = Pictures()
    read, classify = (fails, of.classify) if part == "read" else (abs, fails)
    given = []
    with pytest.raises(MemoryError, match="of the test"):
        given.extend(each.source for each in classify_ahead(classify, of.numbers(), read, of.detect, 8, 4))
    assert given == list(range(40)) and not fer_threads()


@pytest.mark.parametrize("pictures", [1, 16])
def test_an_endless_source_is_read_ahead_by_a_bounded_number_and_stops_when_closed(pictures):
    of = Pictures()
    iteration = classify_ahead(of.classify, of.numbers(), lambda number: number % 60, of.detect, 64, pictures)
    for number, _ in enumerate(islice(iteration, 300)):
        # Two batches of 16, two pictures read ahead, and one at work; a live picture is answered before the next one.
        assert of.asked - number <= (35 if pictures > 1 else 0)
        assert len(fer_threads()) == (2 if pictures > 1 else 0)
    iteration.close()
    asked = of.asked
    assert not fer_threads() and of.asked == asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device=tpu is unknown: use one of cpu, cuda"),
        ({"device": "cuda"}, "device=cuda needs a GPU, and PyTorch finds none here"),
        ({"device": "cuda", "backend": "onnxruntime"}, "device=cuda needs the CUDAExecutionProvider of ONNX Runtime"),
        ({"providers": ["Cuda"]}, "providers=Cuda is unknown: use one of .*CPUExecutionProvider"),
        (
            {"providers": ["CoreMLExecutionProvider"]},
            "providers needs the CoreMLExecutionProvider .* has .*CPU",
        ),
        ({"providers": []}, "providers must name at least one"),
        ({"providers": ["CPUExecutionProvider"], "backend": "torch"}, "omit providers"),
    ],
)
def test_devices_that_are_not_there(options, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(UserError, match=message) as error:
        open_classifier("ferplus", **options)
    assert "\n" not in str(error.value)


def test_a_provider_by_name():
    opened = open_classifier("ferplus", providers=["CPUExecutionProvider"])
    assert opened.backend == "onnxruntime" and opened.session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("tta", ["none", "mirror", "crops"])
@pytest.mark.parametrize("size", [16, 48, 72])
def test_views_are_those_of_evaluation(tta, size):
    faces = np.random.default_rng(0).integers(0, 256, (3, size, size, 1), dtype=np.uint8)
    tensors = torch.from_numpy(faces).permute(0, 3, 1, 2).float()
    for own, other in zip(views_of(faces, tta), views(tensors, tta), strict=True):
        np.testing.assert_array_equal(own.transpose(0, 3, 1, 2), other.numpy())


def test_probabilities_are_averaged_over_the_views():
    faces = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1), dtype=np.uint8)
    plain, averaged = open_classifier("ferplus"), open_classifier("ferplus", tta="mirror")
    expected = (plain.probabilities(faces) + plain.probabilities(faces[:, :, ::-1])) / 2
    np.testing.assert_allclose(averaged.probabilities(faces), expected, atol=1e-6)
    np.testing.assert_array_equal(averaged.embed(faces), plain.embed(faces))
    assert averaged.classes == plain.classes and averaged.probabilities(faces[:0]).shape == (0, 8)
    with pytest.raises(UserError, match="tta=five is unknown: use one of none, mirror, crops"):
        open_classifier("ferplus", tta="five")


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("tta", ["none", "mirror"])
def test_probabilities_under_another_prior(files, backend, tta):
    shares = {"happy": 5, "sad": 4, "surprise": 1}
    plain, shifted = (open_classifier(str(files[backend]), tta=tta, prior=prior) for prior in ("training", shares))
    # The training split has equally many images of each class; tau is 0.5.
    expected = plain.probabilities(FACES) * np.sqrt([5, 4, 1])
    np.testing.assert_allclose(shifted.probabilities(FACES), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    assert shifted.probabilities(FACES).dtype == np.float32
    assert shifted.card == {**plain.card, "tta": tta, "prior": "happy 0.5, sad 0.4, surprise 0.1"}
    assert plain.card["prior"] == "training" and plain.card["tau"] == 0.5
    assert plain.card["training_prior"] == pytest.approx(dict.fromkeys(shifted.classes, 1 / 3))


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_probabilities_of_groups(files, backend):
    groups = {"high": ["happy", "surprise"], "low": ["sad"]}
    plain = open_classifier(str(files[backend]))
    grouped = open_classifier(str(files[backend]), groups=groups)
    probabilities = plain.probabilities(FACES)
    happy, sad, surprise = (probabilities[:, plain.classes.index(name)] for name in ("happy", "sad", "surprise"))
    assert grouped.classes == ("high", "low")
    np.testing.assert_allclose(grouped.probabilities(FACES), np.stack([happy + surprise, sad], axis=1), rtol=1e-5)
    assert grouped.card["groups"] == "high: happy, surprise; low: sad"
    assert open_classifier(str(files[backend]), groups=None).classes == plain.classes


@pytest.mark.parametrize("name", ["fer2013", "ferplus"])
def test_the_networks_that_ship_have_a_balanced_prior_on_both_backends(name):
    by_torch, by_onnx = (open_classifier(name, backend, prior="balanced") for backend in ("torch", "onnxruntime"))
    seen = by_torch.preprocessing
    faces = np.random.default_rng(0).integers(0, 256, (4, seen["image_size"], seen["image_size"], 1), dtype=np.uint8)
    shifted, plain = by_torch.probabilities(faces), open_classifier(name).probabilities(faces)
    np.testing.assert_allclose(by_onnx.probabilities(faces), shifted, atol=1e-5)
    assert (shifted > plain)[:, by_torch.classes.index("disgust")].all()


def test_a_network_without_known_shares_has_no_other_prior(files, tmp_path):
    trained = load_net(files["torch"])
    description = {key: value for key, value in trained.description.items() if key != "training_prior"}
    save_net(replace(trained, description=description), tmp_path / "old.safetensors", half=False)
    assert open_classifier(str(tmp_path / "old.safetensors")).card["prior"] == "training"
    with pytest.raises(UserError, match=r"old\.safetensors does not hold the shares of the classes in its training"):
        open_classifier(str(tmp_path / "old.safetensors"), prior="balanced")
