from __future__ import annotations

import copy
import importlib.util
import os
import socket
import threading
import time

import pytest
import safetensors.torch
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.models import backbone
from fer_lightning.models.backbone import (
    LITE0,
    LITE0_PACKAGE,
    DepthwiseConv2d,
    DepthwiseConv2dSame,
    build_network,
    cached_file,
    feature_map,
    hub_answers,
    pretrained_overlay,
    speed_up_depthwise,
)

NAME = "test_efficientnet.r160_in1k"  # 0.36 M parameters, made by timm for tests
needs_package = pytest.mark.skipif(
    importlib.util.find_spec(LITE0_PACKAGE) is None, reason="needs pip install 'fer_lightning[pretrained]'"
)


def build(name, stem_stride=None, image_size=48, in_channels=1):
    return build_network(
        name, in_channels=in_channels, image_size=image_size, stem_stride=stem_stride, pretrained="none"
    )


@pytest.mark.parametrize(
    ("name", "stem_stride", "side"),
    [
        ("test_efficientnet", None, 2),
        ("test_efficientnet", 1, 3),
        ("test_efficientnet", 4, 1),
        ("test_convnext", 1, 6),
        ("test_convnext", 2, 3),
        ("test_vit", 8, 6),
        ("test_resnet", 1, 3),
    ],
)
def test_the_stem_alone_decides_how_small_the_last_map_is(name, stem_stride, side):
    network = build(name, stem_stride)
    _, (channels, height, width) = feature_map(network, name, in_channels=1, image_size=48, stage=-1)

    assert (height, width) == (side, side)
    assert channels == timm.create_model(name).feature_info[-1]["num_chs"]


@pytest.mark.parametrize("stage", range(5))
def test_every_stage_is_the_one_timm_gives_and_nothing_behind_it_is_left(stage):
    torch.manual_seed(0)
    name = "tf_efficientnet_lite0"
    network = build(name, in_channels=3)
    reference = timm.create_model(name, features_only=True, out_indices=(stage,)).eval()
    reference.load_state_dict(network.state_dict(), strict=False)
    cut, shape = feature_map(network, name, in_channels=3, image_size=48, stage=stage)
    image = torch.randn(2, 3, 48, 48)
    (features,) = cut.eval()(image)
    (expected,) = reference(image)

    torch.testing.assert_close(features, expected)
    assert tuple(features.shape[1:]) == shape
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in cut.parameters())


def test_networks_stay_in_training_mode():
    network = build("test_efficientnet")
    feature_map(network, "test_efficientnet", in_channels=1, image_size=48, stage=-1)

    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_b55", "did you mean .*efficientnet_b5"),
        ("swin_tiny", "did you mean .*swin"),
        ("no such network at all", "timm.list_models"),
        ("test_efficientnet.moon", "it has r160_in1k"),
    ],
)
def test_a_misspelt_name(name, message):
    with pytest.raises(UserError, match=message):
        build(name)


@pytest.mark.parametrize(
    ("name", "stem_stride", "message"),
    [
        ("coat_tiny", 2, r"model\.stem_stride"),
        ("levit_128s", 1, "this stem"),
        ("vit_tiny_patch16_224", 100, "this stem|cannot be built"),
    ],
)
def test_a_stem_that_cannot_be_changed(name, stem_stride, message):
    with pytest.raises(UserError, match=message):
        network = build(name, stem_stride)
        feature_map(network, name, in_channels=1, image_size=48, stage=-1)


@pytest.mark.parametrize("stage", [5, -6])
def test_a_stage_that_is_not_there(stage):
    with pytest.raises(UserError, match=rf"model\.stage must be 0 to 4 or negative for test_efficientnet; got {stage}"):
        feature_map(build("test_efficientnet"), "test_efficientnet", in_channels=1, image_size=48, stage=stage)


def test_a_network_without_maps():
    with pytest.raises(UserError, match="offers no feature maps"):
        feature_map(nn.Identity(), "odd_net", in_channels=1, image_size=48, stage=-1)


def build_pretrained(name=NAME, source="none", in_channels=3, stem_stride=None, image_size=64):
    return build_network(
        name, in_channels=in_channels, image_size=image_size, stem_stride=stem_stride, pretrained=str(source)
    )


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "hub"


@needs_package
@pytest.mark.parametrize(
    ("picture", "expected"),
    [("chelsea", {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}), ("coffee", {967: "espresso", 968: "cup"})],
)
def test_the_packaged_weights_recognise_known_pictures(picture, expected):
    data = pytest.importorskip("skimage.data")
    net = build_pretrained(LITE0, "imagenet", image_size=224).eval()
    image = torch.from_numpy(getattr(data, picture)()).permute(2, 0, 1)[None].float() / 255
    height, width = image.shape[2:]
    top, left, side = (height - min(height, width)) // 2, (width - min(height, width)) // 2, min(height, width)
    square = image[:, :, top : top + side, left : left + side]
    small = torch.nn.functional.interpolate(square, (224, 224), mode="bicubic", antialias=True)
    mean, std = (torch.tensor(timm.get_pretrained_cfg(LITE0).to_dict()[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        probability = net((small - mean) / std)[0].softmax(0)

    assert int(probability.argmax()) in expected
    assert probability[list(expected)].sum() > 0.4


@needs_package
def test_grey_images_see_the_sum_of_the_colour_weights():
    colour, grey = build_pretrained(LITE0, "imagenet").eval(), build_pretrained(LITE0, "imagenet", in_channels=1).eval()
    image = torch.rand(1, 1, 64, 64)

    torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("num_classes", [1000, 5, 0])
def test_a_local_file_is_read_whole(tmp_path, suffix, num_classes):
    original = timm.create_model(NAME, num_classes=num_classes).eval()
    path = tmp_path / f"weights.{suffix}"
    (torch.save if suffix == "pth" else safetensors.torch.save_file)(original.state_dict(), path)
    image = torch.rand(2, 3, 64, 64)

    assert torch.equal(build_pretrained(source=path).eval()(image), original(image))


def test_patches_of_another_side_keep_what_the_weights_answer_to_a_smooth_image(tmp_path):
    original = timm.create_model("test_convnext").eval()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    net = build_pretrained("test_convnext", tmp_path / "weights.pth", stem_stride=2).eval()
    small = torch.rand(1, 3, 8, 8)
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")

    assert net.stem[0].weight.shape[-2:] == (2, 2)
    torch.testing.assert_close(net.stem[0](small).mean(), original.stem[0](large).mean(), atol=5e-2, rtol=0.1)


@pytest.mark.parametrize("wrong", ["other_net", "missing_tensor", "no_weights", "garbage", "absent"])
def test_a_file_that_does_not_fit_is_refused(tmp_path, wrong):
    path = tmp_path / "weights.pth"
    weights = timm.create_model(NAME, num_classes=5).state_dict()
    if wrong == "other_net":
        torch.save(timm.create_model("test_resnet", num_classes=5).state_dict(), path)
    elif wrong == "missing_tensor":
        torch.save({key: value for key, value in weights.items() if key != "conv_head.weight"}, path)
    elif wrong == "no_weights":
        torch.save({"epoch": 3}, path)
    elif wrong == "garbage":
        path.write_bytes(b"no weights at all")
    with pytest.raises(UserError, match=r"model\.pretrained.*weights\.pth"):
        build_pretrained(source=path)


def test_offline_the_sentence_comes_at_once(no_cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"test_efficientnet.*cannot be reached; use model\.pretrained=none or"):
        build_pretrained(source="imagenet")
    assert time.monotonic() - started < 2


def test_an_unreachable_hub_ends_within_seconds(no_cache, monkeypatch):
    with socket.socket() as silent:  # accepts connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(backbone, "SECONDS_TO_ANSWER", 0.5)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        started = time.monotonic()
        with pytest.raises(UserError, match=r"pip install 'fer_lightning\[pretrained\]'"):
            pretrained_overlay(LITE0, "imagenet")
        assert time.monotonic() - started < 4


def test_a_hub_that_answers_with_an_error_is_reachable(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")

        def refuse():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        assert hub_answers()


def test_weights_in_the_cache_need_no_network(no_cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    original = timm.create_model(NAME).eval()
    for snapshot, age in (("old", 1000), ("new", 2000)):
        folder = no_cache / "models--timm--test_efficientnet.r160_in1k" / "snapshots" / snapshot
        folder.mkdir(parents=True)
        safetensors.torch.save_file(original.state_dict(), folder / "model.safetensors")
        os.utime(folder / "model.safetensors", (age, age))
    image = torch.rand(1, 3, 64, 64)

    assert cached_file("timm/test_efficientnet.r160_in1k").parent.name == "new"
    assert torch.equal(build_pretrained(source="imagenet").eval()(image), original(image))


def test_a_network_without_published_weights():
    with pytest.raises(UserError, match="no pretrained weights of vit_base_patch16_18x2_224"):
        pretrained_overlay("vit_base_patch16_18x2_224", "imagenet")


def test_a_stem_that_does_not_fit_is_not_blamed_on_the_weights(tmp_path):
    path = tmp_path / "vit.pth"
    torch.save(timm.create_model("vit_tiny_patch16_224", img_size=48, num_classes=3).state_dict(), path)
    with pytest.raises(UserError, match=r"cannot be built for images of 48 x 48 pixels"):
        build_pretrained("vit_tiny_patch16_224", source=path, stem_stride=0, image_size=48)


def test_a_network_with_two_classifiers_reads_its_own_weights(tmp_path):
    original = timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, num_classes=5).eval()
    torch.save(original.state_dict(), tmp_path / "deit.pth")
    image = torch.rand(1, 3, 64, 64)
    network = build_pretrained("deit_tiny_distilled_patch16_224", source=tmp_path / "deit.pth", image_size=64).eval()
    assert torch.equal(network(image), original(image))


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(8, 8, 5, 1, 2, groups=8), nn.Conv2d(8, 16, 3, 2, 1, groups=8), Conv2dSame(8, 8, 3, 2, groups=8)],
    ids=["wide", "doubling", "same"],
)
def test_under_bf16_it_is_the_float32_convolution_in_the_dtype_of_its_input(conv):
    torch.manual_seed(0)
    network = nn.Sequential(copy.deepcopy(conv))
    speed_up_depthwise(network)
    features = torch.randn(2, 8, 7, 7).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(features)
        output.float().square().sum().backward()

    assert type(network[0]) in (DepthwiseConv2d, DepthwiseConv2dSame)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, conv(features.float()).bfloat16())
    assert network[0].weight.grad.dtype == torch.float32


def test_names_values_and_other_convolutions_stay():
    network = timm.create_model("tf_efficientnet_lite0").eval()
    changed = copy.deepcopy(network)
    speed_up_depthwise(changed)
    image = torch.randn(1, 3, 32, 32)

    assert changed.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(changed(image), network(image))
    for before, after in zip(network.modules(), changed.modules(), strict=True):
        depthwise = isinstance(before, nn.Conv2d) and before.groups == before.in_channels > 1
        assert (type(before) is not type(after)) == depthwise


def test_a_copy_uses_its_own_weights():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False))
    speed_up_depthwise(network)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        copied[0].weight.zero_()

    assert not copied(torch.ones(1, 4, 3, 3)).any()
    assert network(torch.ones(1, 4, 3, 3)).any()
