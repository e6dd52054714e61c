"""Networks of strangers: checkpoints, safetensors and ONNX files that were changed in every way.

Whatever lies in them, a file is used with finite weights and one name for each logit, or refused by its name.
"""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
import torch

from fer_lightning.inference.card import card_of
from fer_lightning.training.checkpoints import check_last, load_net, save_net
from fer_lightning.training.safetensors_weights import StoredNet, write_safetensors


@pytest.fixture(scope="module")
def checkpoint(trained_run):
    return torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)


def usable(trained) -> bool:
    seen = trained.description["preprocessing"]
    image = torch.zeros(2, seen["channels"], seen["image_size"], seen["image_size"])
    with torch.no_grad():
        logits = trained.net(image)
    weights = trained.net.state_dict().values()
    named = len(set(trained.classes)) == len(trained.classes) and all(name.isprintable() for name in trained.classes)
    return (
        named
        and logits.shape == (2, len(trained.classes))
        and all(bool(value.isfinite().all()) for value in weights)
        and 0 < card_of(trained, "")["temperature"] < 1000
    )


def change_weights(state: dict, rng: np.random.Generator) -> str:
    """Changes one of the weights."""
    name = list(state)[rng.integers(len(state))]
    value = state[name]
    changes = {
        "nan": lambda: torch.full_like(value.float(), float("nan")),
        "infinite": lambda: torch.full_like(value.float(), float("inf")),
        "another shape": lambda: torch.zeros(3, 3),
        "whole numbers": lambda: torch.zeros(value.shape, dtype=torch.int64),
        "complex": lambda: torch.zeros(value.shape, dtype=torch.complex64),
        "no tensor": lambda: [1, 2],
        "as large as memory": lambda: torch.zeros(1).expand(2**20, 2**20),
        "expanded": lambda: torch.zeros(1).expand(value.shape) if value.is_floating_point() else value,
        "sparse": lambda: torch.zeros(4, 4).to_sparse(),
    }
    kind = list(changes)[rng.integers(len(changes))]
    if rng.integers(6) == 0:
        del state[name]
        return f"removed {name}"
    state[name] = changes[kind]()
    return f"{name}: {kind}"


@pytest.mark.filterwarnings("error:Casting complex values")  # part of a number would be lost in silence
def test_checkpoints(campaign, checkpoint, tmp_path, mutate, damage):
    path = tmp_path / "net.ckpt"
    torch.save(checkpoint, path)
    content = path.read_bytes()
    for case, rng in campaign.cases(quick=10, full=1500):
        kind = rng.integers(10)
        if kind < 2:
            path.write_bytes(damage(content, rng))
            done = "damaged"
        else:
            changed = copy.deepcopy(checkpoint)
            if kind < 4:
                done = change_weights(changed["state_dict"], rng)
            elif kind < 5:
                done = mutate({name: changed[name] for name in ("epoch", "record", "description")}, rng)
                changed[("epoch", "record", "description", "state_dict")[case % 4]] = [None, "x", -1, []][case % 3]
            elif kind < 6:
                done = mutate(changed["record"], rng)
            elif kind < 8:
                done = mutate(changed["description"]["model"], rng)
            else:
                done = mutate(changed["description"], rng)
            torch.save(changed, path)
        campaign.judge(f"{case} {done}", lambda: load_net(path), named="net.ckpt", accepts=usable)


def test_safetensors(campaign, trained_run, tmp_path, mutate, damage):
    trained = load_net(trained_run)
    path = tmp_path / "net.safetensors"
    save_net(trained, path, half=False)
    content = path.read_bytes()
    for case, rng in campaign.cases(quick=8, full=1200):
        kind = rng.integers(10)
        if kind < 2:
            path.write_bytes(damage(content, rng))
            done = "damaged"
        else:
            parts = {"description": trained.description, "record": trained.record}
            parts = json.loads(json.dumps(parts))
            weights = {name: value.clone() for name, value in trained.net.state_dict().items()}
            if kind < 3:
                name = list(weights)[rng.integers(len(weights))]
                weights[name] = [weights[name] * float("nan"), torch.zeros(2), weights[name].half()][case % 3]
                done = f"weights {name}"
            else:
                done = mutate(parts if kind < 5 else parts["description"], rng)
            parts = {"description": {}, "record": {}, **parts}
            epoch = 3 if rng.integers(8) else [0, -1, "x", None, 1.5, True, 2**70][case % 7]
            write_safetensors(StoredNet(weights, parts["description"], epoch, parts["record"]), path, half=False)
        campaign.judge(f"{case} {done}", lambda: load_net(path), named="net.safetensors", accepts=usable)


def onnx_file(onnx, path, metadata: dict, weights: np.ndarray, change: int = 0) -> None:
    """The mean of an image, as logits."""
    helper = onnx.helper
    size = metadata["preprocessing"].get("image_size") if isinstance(metadata.get("preprocessing"), dict) else 32
    size = size if type(size) is int and 0 < size < 100 else 32
    matrix = onnx.numpy_helper.from_array(weights, "weights")
    if change == 1:
        matrix.ClearField("raw_data")
        matrix.data_location = onnx.TensorProto.EXTERNAL
        matrix.external_data.add(key="location", value="../../etc/passwd")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"], domain="another.library" if change == 2 else ""),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", 1, ["batch", 1, size, size])],
        [helper.make_tensor_value_info("logits" if change != 3 else "other", 1, None)],
        [matrix],
    )
    if change == 3:
        nodes[-1].output[0] = "other"
        del graph.node[:]
        graph.node.extend(nodes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    texts = {name: json.dumps(value) for name, value in metadata.items()}
    helper.set_model_props(model, texts)
    path.write_bytes(model.SerializeToString())


def test_onnx(campaign, trained_run, tmp_path, mutate, damage):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from fer_lightning.deploy.onnx import onnx_metadata
    from fer_lightning.inference.onnx_classifier import OnnxClassifier

    trained = load_net(trained_run)
    metadata = onnx_metadata(trained, "run")
    path = tmp_path / "net.onnx"
    weights = np.arange(3, dtype=np.float32)[None]
    onnx_file(onnx, path, metadata, weights)
    content = path.read_bytes()

    def right(classifier) -> bool:
        faces = np.zeros((2, 32, 32, 1), np.uint8)
        if classifier.preprocessing["image_size"] != 32:
            return False
        read = classifier.probabilities(faces)
        return read.shape == (2, len(set(classifier.classes))) == (2, 3) and np.allclose(read.sum(axis=1), 1, atol=1e-4)

    assert right(OnnxClassifier(path, "net.onnx", 1))
    for case, rng in campaign.cases(quick=12, full=600):
        kind = rng.integers(10)
        changed = copy.deepcopy(metadata)
        if kind < 3:
            path.write_bytes(damage(content, rng))
            done = "damaged"
        elif kind < 5:
            change = int(rng.integers(1, 7))
            done = ("", "external", "operator", "output", "nan", "columns", "infinite")[change]
            odd = {4: weights * np.nan, 5: np.ones((1, 5), np.float32), 6: weights + np.inf}.get(change, weights)
            onnx_file(onnx, path, changed, odd, change)
        else:
            parts = ("card", "preprocessing", "classes", "protocol")
            done = mutate(changed if kind < 7 else changed[parts[case % len(parts)]], rng)
            onnx_file(onnx, path, changed, weights)
        campaign.judge(f"{case} {done}", lambda: OnnxClassifier(path, "net.onnx", 1), named="net.onnx", accepts=right)


def test_where_training_goes_on(campaign, trained_run, tmp_path, mutate, damage):
    """`last.ckpt` of a damaged run folder: refused by its name, or right."""
    folder = trained_run / "checkpoints"
    last = torch.load(folder / "last.ckpt", weights_only=True)
    content = (folder / "last.ckpt").read_bytes()

    class Classifier(torch.nn.Module):
        def state_dict(self):
            return last["state_dict"]

    (tmp_path / "best.ckpt").write_bytes((folder / "best.ckpt").read_bytes())
    for case, rng in campaign.cases(quick=5, full=200):
        changed = copy.deepcopy(last)
        if rng.integers(2):
            (tmp_path / "last.ckpt").write_bytes(damage(content, rng))
        else:
            mutate({"": changed}, rng) if rng.integers(2) else change_weights(changed["state_dict"], rng)
            torch.save(changed, tmp_path / "last.ckpt")
        campaign.judge(
            case, lambda: check_last(tmp_path, Classifier()), named="last.ckpt", accepts=lambda result: result is None
        )


@pytest.mark.parametrize("content", [b"half", pytest.param(None, marks=pytest.mark.slow)], ids=["damaged", "lost"])
def test_a_run_whose_best_epoch_is_lost_is_not_trained_to_its_end(content, trained_run, fer, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "metrics.json").unlink()
    best = run / "checkpoints" / "best.ckpt"
    best.unlink() if content is None else best.write_bytes(content)
    assert fer("train", f"resume={run}") == 2
    message = capsys.readouterr().err
    assert str(best) in message and "without which the run cannot be finished" in message
