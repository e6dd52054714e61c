from __future__ import annotations

import pathlib
import re

import pytest
import torch
from omegaconf import OmegaConf

from fer_lightning.commands.instantiate import (
    _warn_of_normalisation,
    build,
    build_each,
    build_loss,
    check_parts,
    limit_threads,
    resolve_precision,
)
from fer_lightning.errors import UserError


def test_built_objects_get_plain_containers():
    assert type(build(OmegaConf.create({"_target_": "builtins.dict", "values": [1, {"a": 2}]}))["values"]) is list


def test_a_mistake_keeps_its_own_words():
    bad = {"mixup_alpha": -1, "cutmix_alpha": 0, "probability": 1, "num_classes": 3}
    with pytest.raises(UserError, match=r"^mixing\.mixup_alpha must be a positive number, or 0 to disable it; got -1"):
        build(OmegaConf.create({"_target_": "fer_lightning.training.mixup.Mixing", **bad}))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"_target_": "torch.nn.Linear", "in_features": 2}, "out_features"),
        ({"_target_": "fractions.Fraction", "numerator": "x"}, "Invalid literal"),
    ],
)
def test_bad_arguments_name_their_target(config, told):
    with pytest.raises(UserError, match=f"{config['_target_'].rpartition('.')[2]}: .*{told}"):
        build(OmegaConf.create(config))


def test_a_bad_argument_of_a_nested_node_is_one_line_about_that_node():
    erasing = {"_target_": "albumentations.CoarseDropout", "p": 2}
    with pytest.raises(UserError) as caught:
        build(OmegaConf.create({"_target_": "builtins.dict", "transforms": [erasing]}))
    told = str(caught.value)
    assert re.match(r"albumentations\S*CoarseDropout: .* p Input should be less than or equal to 1$", told), told


def test_each_of_several_and_none_of_none():
    a_dict = {"_target_": "builtins.dict"}
    nodes = OmegaConf.create({"a": {**a_dict, "x": 1}, "b": None, "c": a_dict})
    assert build_each(nodes) == [{"x": 1}, {}]
    assert build_each(None) == [] == build_each(OmegaConf.create({}))


def test_a_precision_that_was_chosen_stays():
    assert resolve_precision("16-mixed", "cpu") == "16-mixed"


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx2 avx512_bf16", "bf16-mixed"), ("amx_bf16", "bf16-mixed"), ("avx2 avx512f", "32-true")]
)
def test_automatic_precision_of_a_processor(flags, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(pathlib.Path, "is_file", lambda path: True)
    monkeypatch.setattr(pathlib.Path, "read_text", lambda path: f"flags : {flags}")
    assert resolve_precision("auto", "auto") == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_automatic_precision_of_a_gpu(supported, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve_precision("auto", "gpu") == expected


def test_threads():
    before = torch.get_num_threads()
    try:
        limit_threads(OmegaConf.create({"threads": None}))
        assert torch.get_num_threads() == before
        limit_threads(OmegaConf.create({"threads": 1}))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(UserError, match=r"threads must be from 1 to \d+, .* got 0"):
        limit_threads(OmegaConf.create({"threads": 0}))


def test_a_loss_that_judges_embeddings_is_told_their_size_and_needs_a_net_that_has_one():
    cfg = OmegaConf.create({"loss": {"_target_": f"{__name__}.Judge", "weight": 2}})
    net = torch.nn.Identity()
    with pytest.raises(UserError, match="needs an embedding; Identity has none"):
        build_loss(cfg, net, [1, 2])
    net.forward_features, net.embed_dim = net.forward, 5
    assert build_loss(cfg, net, [1, 2]).given == ([1, 2], 5, 2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        (
            {"data": {"_target_": "Faces", "side": "landmarks"}},
            "data.side must be none, the auxiliary input of",
        ),
        ({"model": {"side": "landmarks"}}, "data.side must be landmarks, the auxiliary input of the network; got none"),
        ({"data": {}, "model": {"side": "landmarks"}}, None),  # no data set, which is refused when it is built
        (
            {"data": {"side": "landmarks"}, "model": {"side": "landmarks"}},
            "mixing must be off for a network with",
        ),
        ({"model": {"checkpoints": "run"}}, "model.checkpoints must be a list of runs; got run"),
        ({"model": {"checkpoints": ["run"]}}, None),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes, told):
    parts = {"model": {}, "data": {"_target_": "Faces", "side": "none"}}
    cfg = OmegaConf.create({**parts, "mixing": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}, **changes})
    if told is None:
        check_parts(cfg)
    else:
        with pytest.raises(UserError, match=f"^{re.escape(told)}"):
            check_parts(cfg)


class Judge(torch.nn.Module):
    needs_features = True

    def __init__(self, class_counts, embed_dim, weight):
        super().__init__()
        self.given = (class_counts, embed_dim, weight)


class Images:
    def __init__(self, channels, mean, std):
        self.channels, self.mean, self.std = channels, mean, std


@pytest.mark.parametrize(
    ("images", "wanted", "told"),
    [
        (Images(1, [0.5], [0.25]), ([0.5], [0.5]), "data.mean=[0.5] data.std=[0.5]"),
        (Images(1, [0.5], [0.5]), ([0.5], [0.5]), None),
        (Images(3, [0.5], [0.25]), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "data.mean=[0.485,0.456,0.406]"),
        (Images(3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), None),
        (Images(3, [0.5], [0.25]), None, None),
    ],
)
def test_images_unlike_those_of_the_pretrained_weights_are_told(images, wanted, told, caplog):
    net = torch.nn.Identity()
    net.normalisation = wanted
    _warn_of_normalisation(net, images)
    assert (told in caplog.text) if told else not caplog.text
