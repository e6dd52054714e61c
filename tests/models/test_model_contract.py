"""What every network of conf/model must do with its own defaults, whatever is inside."""

from __future__ import annotations

import copy
import functools

import hydra
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.commands.instantiate import compose_net
from fer_lightning.files import conf_dir

# Consists of networks that are trained already.
NOT_TRAINED = {"weighted_voting"}
MODELS = sorted({path.stem for path in (conf_dir() / "model").glob("*.yaml")} - NOT_TRAINED)
# 28 million weights; hafem_lite is the same class.
SLOW = {"hafem"}
CASES = [(name, *case) for name in MODELS for case in ((32, 3), (48, 1), (96, 1))]
CASES += [(name, 224, 3) for name in ("hafem_lite", "psysfa_net", "resnet")]
# Dropout outside the head.
OTHER_DROPOUT = {"hafem": "model.transformer_dropout=0", "hafem_lite": "model.transformer_dropout=0"}
LEARNING_RATE = 1e-3
MOST_STEPS = 60


def unless_slow(*case: object) -> object:
    return pytest.param(*case, marks=pytest.mark.slow if case[0] in SLOW else ())


every_net = pytest.mark.parametrize("name", [unless_slow(name) for name in MODELS])
every_case = pytest.mark.parametrize(("name", "image_size", "channels"), [unless_slow(*case) for case in CASES])


@functools.cache
def built(*overrides: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose_net("show_models", overrides, 7)


def make(*overrides: str, batch: int = 2) -> tuple[nn.Module, list[Tensor]]:
    """A fresh copy of a network, and random inputs; every other side vector is that of no face."""
    net, one = built(*overrides)
    torch.manual_seed(0)
    image, *side = [torch.randn(batch, *part.shape[1:]) for part in one]
    for vector in side:
        vector[:, 0] = 1
        vector[1::2] = 0
    return copy.deepcopy(net), [image.contiguous(memory_format=torch.channels_last), *side]


@every_case
def test_every_parameter_gets_a_gradient_under_bf16(name, image_size, channels):
    net, inputs = make(f"+model={name}", f"image_size={image_size}", f"channels={channels}")
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(*inputs)
        loss = F.cross_entropy(logits, torch.tensor([0, 1]))
    loss.backward()

    assert logits.shape == (2, 7)
    assert [key for key, part in net.named_parameters() if part.requires_grad and part.grad is None] == []
    assert all(part.grad.isfinite().all() for part in net.parameters() if part.requires_grad)


@torch.no_grad()
@every_net
def test_logits_are_the_head_on_the_embedding(name):
    net, inputs = make(f"+model={name}")
    features = net.eval().forward_features(*inputs)

    assert features.shape == (2, net.embed_dim)
    assert not torch.equal(features[0], features[1])
    assert torch.equal(net(*inputs), net.forward_head(features))


@torch.no_grad()
@every_net
def test_dropout_is_in_the_head_and_in_training_only(name):
    net, inputs = make(f"+model={name}", *([OTHER_DROPOUT[name]] if name in OTHER_DROPOUT else []))
    features = net.forward_features(*inputs)

    assert torch.equal(features, net.forward_features(*inputs))
    assert not torch.equal(net.forward_head(features), net.forward_head(features))
    net.eval()
    assert torch.equal(net.forward_head(features), net.forward_head(features))


@every_case
def test_what_gradcam_sees_decides_the_logits(name, image_size, channels):
    net, inputs = make(f"+model={name}", f"image_size={image_size}", f"channels={channels}")
    seen = []
    net.gradcam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = net.eval()(*inputs)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), seen[0])

    tokens = getattr(net, "gradcam_tokens", None)
    if tokens is None:
        assert gradient.ndim == 4
        assert (gradient.abs().sum((1, 2, 3)) > 0).all()
    else:
        prefix, rows, columns = tokens
        assert rows >= 1 and columns >= 1
        assert gradient.shape == (2, prefix + rows * columns, net.embed_dim)
        assert (gradient.abs().sum(2) > 0).all()


@pytest.mark.parametrize("name", ["attention_cnn", "attention_transformer", "psysfa_net", "two_stage"])
def test_normalization_can_be_left_out(name):
    net, inputs = make(f"+model={name}", "model.normalization=none")

    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert net(*inputs).shape == (2, 7)


@every_net
def test_it_overfits_32_random_images(name):
    net, inputs = make(f"+model={name}", "image_size=32", batch=32)
    target = torch.arange(32) % 7
    optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE)
    losses = []
    for _ in range(MOST_STEPS):
        logits = net.train()(*inputs)
        loss = F.cross_entropy(logits, target)
        losses.append(loss.item())
        if (logits.argmax(1) == target).all():
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (logits.argmax(1) == target).all(), (
        f"{int((logits.argmax(1) == target).sum())} of 32 after {MOST_STEPS} steps"
    )
    assert losses[-1] < losses[0]
