from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import hydra
import pytest
import torch

from fer_lightning.commands.instantiate import build_net, plain
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.models.resnet import ResNet
from fer_lightning.training.checkpoints import TrainedNet, load, load_net, save_net, start_from
from fer_lightning.training.safetensors_weights import WEIGHTS, shipped_nets

CLASSES = ("happy", "sad", "surprise")
OTHER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")


@pytest.fixture
def checkpoint(trained_run):
    """What the run wrote, to be spoilt."""
    return torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)


def test_a_mistyped_name_is_corrected():
    with pytest.raises(UserError, match=r"checkpoint=ferpluss does not exist: did you mean ferplus\?"):
        load("ferpluss")


def test_needs_nothing_but_the_file(trained_run, tmp_path):
    lonely = tmp_path / "mine.ckpt"
    shutil.copy(trained_run / "checkpoints" / "best.ckpt", lonely)
    trained = load_net(lonely)
    assert isinstance(trained.net, ResNet) and not trained.net.training
    assert trained.classes == CLASSES
    assert trained.description["protocol"]["dataset"] == "folder"
    seen = {"image_size": 32, "channels": 1, "mean": [0.5], "std": [0.25], "align": False, "side": "none"}
    assert trained.description["preprocessing"] == seen


def test_a_run_folder_stands_for_its_best_checkpoint(trained_run, checkpoint):
    trained = load_net(trained_run)
    assert trained.epoch == json.loads((trained_run / "metrics.json").read_text())["best_epoch"]
    weights = trained.net.state_dict()
    assert weights
    for name, value in weights.items():
        assert torch.equal(value, checkpoint["state_dict"][f"net.{name}"])


def test_a_plain_module_with_its_classes_and_preprocessing(trained_run):
    trained, net = load_net(trained_run), load(trained_run)
    assert type(net) is ResNet and not net.training
    assert net.classes == trained.classes and net.preprocessing == trained.description["preprocessing"]
    assert net.temperature == trained.record["calibration"]["temperature"] != 1
    image = torch.randn(2, 1, 32, 32)
    assert torch.equal(net(image), trained.net(image))
    with pytest.raises(UserError, match=r"checkpoint=ferpls does not exist.*fer2013, ferplus"):
        load("ferpls")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.ckpt does not exist"):
        load_net(tmp_path / "nothing.ckpt")


class Malicious:
    def __reduce__(self):
        return exit, (1,)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage, and a lot of it" * 100),
        lambda path: path.write_bytes(pickle.dumps({"state_dict": {}})),
        lambda path: torch.save({"state_dict": {}}, path),
        lambda path: torch.save({"description": "mine"}, path),
        lambda path: torch.save(torch.zeros(3), path),
        lambda path: torch.save({"description": Malicious()}, path),
    ],
    ids=["empty", "garbage", "pickle", "foreign", "other description", "tensor", "malicious"],
)
def test_what_is_no_checkpoint_of_ours(tmp_path, write):
    path = tmp_path / "other.ckpt"
    write(path)
    with pytest.raises(UserError, match="not a checkpoint written by fer train"):
        load_net(path)


@pytest.mark.parametrize("target", ["os.system", "pathlib.Path", "no_such_package.Net", "fer_lightning.models.Gone"])
def test_only_networks_are_built(tmp_path, checkpoint, target):
    checkpoint["description"]["model"] = {"_target_": target}
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match=f"odd.ckpt names '{target}' as its model, which is not part of fer_lightning"):
        load_net(tmp_path / "odd.ckpt")


@pytest.mark.parametrize(
    ("change", "told"),
    [({"widths": [8, 8, 8, 16]}, "another version of ResNet"), ({"no_such_argument": 1}, "ResNet has no option")],
)
def test_weights_that_do_not_fit(tmp_path, checkpoint, change, told):
    checkpoint["description"]["model"].update(change)
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(UserError, match=rf"old\.ckpt.*{told}"):
        load_net(tmp_path / "old.ckpt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_weights_of_another_kind_of_number(tmp_path, checkpoint, dtype):
    counter = next(name for name in checkpoint["state_dict"] if name.endswith("num_batches_tracked"))
    checkpoint["state_dict"][counter] = checkpoint["state_dict"][counter].to(dtype)
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match=r"odd\.ckpt.*do not match"):
        load_net(tmp_path / "odd.ckpt")


def test_pretrained_weights_are_not_fetched_again(tmp_path, checkpoint, monkeypatch):
    asked = set()
    monkeypatch.setattr(ResNet, "__init__", _noting(ResNet.__init__, asked))
    checkpoint["description"]["model"]["pretrained"] = "imagenet"
    torch.save(checkpoint, tmp_path / "pretrained.ckpt")
    load_net(tmp_path / "pretrained.ckpt")
    assert asked == {"none"}


def _noting(build, asked):
    def init(self, *, pretrained, **arguments):
        asked.add(pretrained)
        build(self, **arguments)

    return init


@pytest.mark.parametrize(
    "model",
    [
        ["model=hafem_lite", "model.stem_stride=1", "model.stage=2"],
        ["model=timm", "model.name=convnext_atto", "model.stem_stride=2"],
        ["model=timm", "model.name=mobilenetv3_small_050"],
    ],
    ids=lambda model: model[1],
)
def test_networks_of_timm_come_back_as_they_were(model, tmp_path, checkpoint):
    """With changed stems, stages and, for hafem_lite, pretrained weights."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", [*model, "data.image_size=32"])
    torch.manual_seed(0)
    net = build_net(cfg, 3).eval()
    described = {**checkpoint["description"], "model": plain(cfg.model)}
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"description": described, "state_dict": weights, "epoch": 0}, tmp_path / "net.ckpt")
    image = torch.randn(2, 1, 32, 32)
    assert torch.equal(load_net(tmp_path / "net.ckpt").net(image), net(image))


@pytest.mark.parametrize("half", [False, True])
def test_safetensors_bring_a_network_back(trained_run, tmp_path, half):
    trained = load_net(trained_run)
    save_net(trained, tmp_path / "net.safetensors", half)
    back = load_net(tmp_path / "net.safetensors")
    assert (back.classes, back.epoch, back.description) == (trained.classes, trained.epoch, trained.description)
    assert back.record == trained.record == json.loads((trained_run / "metrics.json").read_text())
    assert not back.net.training
    for name, value in back.net.state_dict().items():
        own = trained.net.state_dict()[name]
        assert value.dtype == own.dtype
        assert torch.equal(value, own.half().to(own.dtype) if half and own.ndim > 1 else own)


def test_the_record_is_about_the_best_epoch_alone(trained_run, tmp_path):
    assert load_net(trained_run / "checkpoints" / "last.ckpt").record == {}
    shutil.copy(trained_run / "checkpoints" / "best.ckpt", tmp_path / "best.ckpt")
    assert load_net(tmp_path / "best.ckpt").record == load_net(trained_run).record != {}


def test_networks_that_ship():
    assert {"fer2013", "ferplus"} <= set(shipped_nets())
    for name in shipped_nets():
        trained = load_net(Path(name))
        assert trained.description["protocol"]["dataset"] == name
        assert len(trained.classes) == {"fer2013": 7, "ferplus": 8}[name]
        assert trained.record["splits"]["test"]["accuracy"] > 0.6
        written = WEIGHTS / f"{name}.safetensors"
        assert written.stat().st_size < 10_000_000
        beside = json.loads(written.with_suffix(".json").read_text())
        assert {key: beside[key] for key in trained.record} == trained.record


def test_what_ships_names_no_place_of_a_machine():
    for name in shipped_nets():
        trained = load_net(Path(name))
        told = json.dumps([trained.description, trained.record])
        assert not any(place in told for place in ('"/', "=/", "[/", "~/"))


def test_a_run_folder_comes_before_the_network_of_that_name(trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fer2013").mkdir()
    assert len(load_net(Path("fer2013")).classes) == 7
    Path("fer2013", "checkpoints").symlink_to(trained_run / "checkpoints")
    assert load_net(Path("fer2013")).classes == CLASSES


def resnet(num_classes: int, widths: list[int]) -> ResNet:
    return ResNet(num_classes=num_classes, in_channels=1, widths=widths, depths=[1, 1, 1, 1], stem_stride=2, dropout=0)


@pytest.fixture
def trained(monkeypatch) -> ResNet:
    net = resnet(8, [4, 4, 4, 7])
    found = TrainedNet(net, OTHER_CLASSES, 1, {})
    monkeypatch.setattr("fer_lightning.training.checkpoints.load_net", lambda path: found)
    return net


def test_everything_goes_on_where_the_classes_are_as_many(trained):
    net = resnet(8, [4, 4, 4, 7])
    assert start_from(net, Path("run"), 8) == []
    image = torch.randn(2, 1, 48, 48)
    assert torch.equal(net.eval()(image), trained.eval()(image))


def test_a_head_of_other_classes_is_kept_and_all_else_goes_on(trained):
    net = resnet(7, [4, 4, 4, 7])  # as wide before the head as there are classes: shape alone would not tell them apart
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kept = start_from(net, Path("run"), 7)
    assert kept == ["classify.weight", "classify.bias"]
    for name, value in net.state_dict().items():
        expected = before[name] if name in kept else trained.state_dict()[name]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("widths", [[4, 4, 4, 9], [8, 4, 4, 7]])
def test_another_architecture_is_refused_and_nothing_is_changed(trained, widths):
    net = resnet(8, widths)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(
        UserError, match=r"init=run must have the architecture of this run; \d+ tensors do not match, such as "
    ):
        start_from(net, Path("run"), 8)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_part_more_is_another_architecture(trained, monkeypatch):
    trained.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(UserError, match=r"1 tensors do not match, such as scale"):
        start_from(resnet(8, [4, 4, 4, 7]), Path("run"), 8)
