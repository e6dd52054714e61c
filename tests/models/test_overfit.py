"""Every network of conf/model can learn: with its own defaults it fits 32 random images."""

from __future__ import annotations

import hydra
import pytest
import torch
import torch.nn.functional as F

from fer_lightning.cli import conf_dir
from fer_lightning.composed_nets import compose_net

# Consists of networks that are trained already.
NOT_TRAINED = {"weighted_voting"}
MODELS = sorted({path.stem for path in (conf_dir() / "model").glob("*.yaml")} - NOT_TRAINED)
# 28 million weights; hafem_lite is the same class.
SLOW = {"hafem"}
LEARNING_RATE = 2e-3
MOST_STEPS = 60


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODELS]
)
def test_it_overfits_32_random_images(name):
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        net, one = compose_net("show_models", [f"+model={name}"], 7)
    inputs = [torch.randn(32, *part.shape[1:]) for part in one]
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
