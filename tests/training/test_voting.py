from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from scipy.optimize import minimize
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fer_lightning.errors import UserError
from fer_lightning.models.weighted_voting import WeightedVoting
from fer_lightning.results.protocol import Protocol
from fer_lightning.results.run_record import RunRecord
from fer_lightning.training import voting
from fer_lightning.training.checkpoints import load_net
from fer_lightning.training.classifier import ExpressionClassifier
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.voting import VoteFitting, fit_weights, load_members


def members(skills, count=400, classes=5, seed=0):
    """Log-probabilities (N, M, K) of members that favour the true class by their skill, and the classes (N,)."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(count, len(skills), classes, generator=generator)
    logits[torch.arange(count), :, target] += torch.tensor(skills)
    return logits.log_softmax(dim=2), target


def mean_log_likelihood(weights, log_probabilities, target):
    probabilities = np.einsum("m,nmk->nk", weights, log_probabilities.double().exp().numpy())
    truth = target.numpy() if target.ndim == 2 else np.eye(probabilities.shape[1])[target.numpy()]
    return float((truth * np.log(probabilities)).sum(1).mean())


def by_scipy(log_probabilities, target):
    count = log_probabilities.shape[1]
    return minimize(
        lambda weights: -mean_log_likelihood(weights, log_probabilities, target),
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12},
    ).x


@pytest.mark.parametrize("skills", [(1.0, 1.5), (0.2, 1.0, 2.0), (1.0, 1.1, 1.2, 1.3, 0.0)])
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
def test_weights_are_those_of_a_general_optimiser(skills, soft):
    log_probabilities, target = members(skills)
    if soft:
        target = 0.8 * torch.nn.functional.one_hot(target, 5) + 0.04
    weights = fit_weights(log_probabilities, target).numpy()
    expected = by_scipy(log_probabilities, target)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, expected, atol=5e-3)
    best = mean_log_likelihood(expected, log_probabilities, target)
    assert mean_log_likelihood(weights, log_probabilities, target) >= best - 2e-6


def test_a_useless_member_has_no_say():
    log_probabilities, target = members((2.0, 2.0, -2.0))
    weights = fit_weights(log_probabilities, target)
    assert weights[2] < 1e-3
    assert weights[:2].min() > 0.2


def test_identical_members_share_their_weight():
    log_probabilities, target = members((1.0,))
    weights = fit_weights(log_probabilities.expand(-1, 3, -1), target)
    np.testing.assert_allclose(weights, 1 / 3)


def test_a_vote_is_no_worse_than_its_best_member():
    log_probabilities, target = members((0.5, 1.0, 1.5))
    found = mean_log_likelihood(fit_weights(log_probabilities, target).numpy(), log_probabilities, target)
    for alone in np.eye(3):
        assert found >= mean_log_likelihood(alone, log_probabilities, target)


def test_members_that_are_sure_and_wrong_break_nothing():
    log_probabilities, target = members((1e4, -1e4, 1.0))
    weights = fit_weights(log_probabilities, target)
    assert torch.isfinite(weights).all() and weights[0] > 0.999
    weights = fit_weights(log_probabilities[:, 1:2].expand(-1, 2, -1), target)
    assert weights.tolist() == [0.5, 0.5]


# Through the command line


@pytest.fixture(scope="module")
def second_run(tiny, tmp_path_factory, fer_undrawn):
    """Another finished run on the same data, with another seed."""
    folder = tmp_path_factory.mktemp("runs") / "second"
    assert fer_undrawn("train", *tiny, "seed=1", f"hydra.run.dir={folder}") == 0
    return folder


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def vote(fer_undrawn, tiny, trained_run, second_run, tmp_path_factory):
    """Folder of a vote of both runs."""
    folder = tmp_path_factory.mktemp("runs") / "vote"
    options = [option for option in tiny if not option.startswith("model")]
    checkpoints = f"model.checkpoints=[{trained_run},{second_run}/checkpoints/best.ckpt]"
    assert fer_undrawn("train", *options, "experiment=weighted_voting", checkpoints, f"hydra.run.dir={folder}") == 0
    return folder


def test_a_vote_is_a_run_like_any_other(fer, vote, trained_run, second_run, tmp_path):
    metrics = metrics_of(vote)
    assert (metrics["model"], metrics["epochs"], metrics["best_epoch"]) == ("WeightedVoting", 1, 1)
    assert metrics["protocol"] == metrics_of(trained_run)["protocol"]

    record, parts = RunRecord.read(vote), [RunRecord.read(run) for run in (trained_run, second_run)]
    columns = [column for column in record.predictions if column.startswith("prob_")]
    trained = load_net(vote)
    weights = trained.net.weights.numpy()
    expected = sum(weight * part.predictions[columns].to_numpy() for weight, part in zip(weights, parts))
    np.testing.assert_allclose(record.predictions[columns].to_numpy(), expected, atol=1e-5)

    valid = [part.predictions[part.predictions["split"] == "val"] for part in parts]
    logs = np.log(np.stack([table[columns].to_numpy() for table in valid], axis=1))
    refitted = by_scipy(torch.from_numpy(logs), torch.tensor(valid[0]["target"].to_numpy()))
    np.testing.assert_allclose(weights, refitted, atol=0.02)
    assert record.history["val/loss"].tolist() == pytest.approx([metrics["splits"]["val"]["loss"]], abs=1e-5)
    assert record.history["val/accuracy"].tolist() == pytest.approx([metrics["splits"]["val"]["accuracy"]])

    again = tmp_path / "again"
    precision = "trainer.precision=32-true"  # as it was trained: in bfloat16, a tie of two classes may go the other way
    assert fer("evaluate", f"checkpoint={vote}", "logger=none", precision, f"hydra.run.dir={again}") == 0
    assert metrics_of(again)["splits"]["test"]["accuracy"] == metrics["splits"]["test"]["accuracy"]


def test_a_vote_needs_no_file_of_its_members_once_it_is_written(vote, trained_run, second_run, tmp_path):
    shutil.copy(vote / "checkpoints" / "best.ckpt", tmp_path / "lonely.ckpt")
    trained = load_net(tmp_path / "lonely.ckpt")
    assert isinstance(trained.net, WeightedVoting) and trained.classes == ("happy", "sad", "surprise")
    assert float(trained.net.weights.sum()) == pytest.approx(1)
    image = torch.randn(4, 1, 32, 32)
    with torch.no_grad():
        for member, run in zip(trained.net.members, (trained_run, second_run)):
            torch.testing.assert_close(member(image), load_net(run).net(image))
    described = trained.description["model"]
    assert [member["_target_"] for member in described["members"]] == ["fer_lightning.models.resnet.ResNet"] * 2
    assert "checkpoints" not in described


def test_nothing_of_a_member_changes(vote, trained_run):
    weights = torch.load(vote / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    before = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in before.items():
        if name.startswith("net."):
            assert torch.equal(weights["net.members.0." + name[4:]], value), name


def test_a_description_cannot_smuggle_in_anything_but_networks(vote, tmp_path):
    checkpoint = torch.load(vote / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["description"]["model"]["members"][1] = {"_target_": "os.system", "command": "true"}
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match=r"names 'os\.system' as its model, which is not part of fer_lightning"):
        load_net(tmp_path / "odd.ckpt")


# Members that do not fit, and fits that cannot be


@pytest.fixture
def own(trained_run):
    """Protocol and preprocessing of `trained_run`."""
    description = load_net(trained_run).description
    return Protocol.from_dict(description["protocol"]), description["preprocessing"]


def test_members_that_fit(trained_run, own):
    assert len(load_members([str(trained_run)] * 2, *own)) == 2


@pytest.mark.parametrize("change", [{"fingerprint": "other"}, {"classes": ("happy", "sad")}, {"selection": "test"}])
def test_members_of_another_protocol(trained_run, own, change):
    with pytest.raises(UserError, match=rf"must have the protocol of the vote; .* differs in {next(iter(change))}:"):
        load_members([str(trained_run)], replace(own[0], **change), own[1])


def test_members_of_another_preprocessing(trained_run, own):
    with pytest.raises(UserError, match=r"was trained with data\.image_size=32 data\.std=\[0\.25\]: use the same"):
        load_members([str(trained_run)], own[0], {**own[1], "image_size": 48, "std": [0.5]})


def test_members_that_want_more_than_images(trained_run, own, monkeypatch):
    trained = load_net(trained_run)
    preprocessing = {**trained.description["preprocessing"], "side": "landmarks"}
    two_inputs = replace(trained, description={**trained.description, "preprocessing": preprocessing})
    monkeypatch.setattr(voting, "load_net", lambda path: two_inputs)
    with pytest.raises(UserError, match=r"that take images only; .* also takes landmarks: omit it"):
        load_members([str(trained_run)], *own)


def make(procedure, net):
    mixing = Mixing(0.0, 0.0, 1.0, 3)
    return procedure(net, nn.CrossEntropyLoss(), 3, torch.optim.AdamW, None, mixing, False, {})


def small_vote():
    return WeightedVoting(num_classes=3, members=[nn.Sequential(nn.Flatten(), nn.Linear(64, 3)) for _ in range(2)])


@pytest.mark.parametrize(
    ("net", "devices", "callbacks", "told"),
    [
        (nn.Linear(1, 1), 1, [], "needs model=weighted_voting; got Linear"),
        (small_vote(), 2, [], r"use trainer\.devices=1"),
        (small_vote(), 1, [EMAWeightAveraging()], "callbacks=ema has no weights to average: omit it"),
    ],
)
def test_what_no_vote_is_fitted_with(monkeypatch, net, devices, callbacks, told):
    monkeypatch.setattr(VoteFitting, "trainer", SimpleNamespace(world_size=devices, callbacks=callbacks))
    with pytest.raises(UserError, match=told):
        make(VoteFitting, net).setup("fit")


def test_a_vote_is_not_trained():
    with pytest.raises(UserError, match="use procedure=vote"):
        make(ExpressionClassifier, small_vote()).configure_optimizers()


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
def test_one_epoch_of_one_batch_whatever_the_trainer_says(soft):
    image, target = torch.randn(24, 1, 8, 8), torch.arange(24) % 3
    target = torch.eye(3)[target] * 0.7 + 0.1 if soft else target
    loader = DataLoader(TensorDataset(image, target), batch_size=8)
    fitting = make(VoteFitting, small_vote())
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=5, gradient_clip_val=1.0, enable_model_summary=False, **quiet)
    trainer.fit(fitting, loader, loader)
    assert (trainer.current_epoch, trainer.global_step) == (1, 1)
    with torch.no_grad():
        expected = fit_weights(fitting.net.member_log_probabilities(image), target)
    np.testing.assert_allclose(fitting.net.weights, expected, atol=1e-6)
    assert {"train/loss", "val/loss", "val/accuracy"} <= trainer.callback_metrics.keys()
