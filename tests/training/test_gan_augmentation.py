from __future__ import annotations

import functools
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fer_lightning.errors import UserError
from fer_lightning.models.conditional_gan import Discriminator, Generator
from fer_lightning.results.run_record import RunRecord
from fer_lightning.training.callbacks import History
from fer_lightning.training.checkpoints import load_net
from fer_lightning.training.gan_augmentation import (
    AdversarialAugmentation,
    discriminator_hinge,
    expected_generated,
    generator_hinge,
)
from fer_lightning.training.mixup import Mixing

CLASSES = 3
COUNTS = [12, 4, 4]
TARGET = torch.tensor([0, 1, 2, 0])
FOUR_EPOCHS = ["procedure.gan_epochs=2", "trainer.max_epochs=4", "mixing.mixup_alpha=0.4"]


class Faces(pl.LightningDataModule):
    """20 images of 32 pixels, 12 of them of the first class."""

    def class_counts(self, split: str) -> list[int]:
        assert split == "train"
        return COUNTS

    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(20, 1, 32, 32, generator=generator)
        targets = torch.arange(CLASSES).repeat_interleave(torch.tensor(COUNTS))
        return DataLoader(TensorDataset(images, targets), batch_size=10)

    val_dataloader = train_dataloader


def make(gan_epochs: int = 1, generated_share: float = 0.5, optimizer=None, scheduler=None) -> AdversarialAugmentation:
    torch.manual_seed(0)
    shape = {"channels": 1, "image_size": 32}
    return AdversarialAugmentation(
        net=nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 225, CLASSES)),
        loss=nn.CrossEntropyLoss(),
        num_classes=CLASSES,
        optimizer=optimizer or functools.partial(torch.optim.AdamW, lr=1e-2),
        scheduler=scheduler,
        mixing=Mixing(0.0, 0.0, 1.0, CLASSES),
        channels_last=True,
        description={"classes": ["a", "b", "c"], "preprocessing": {"mean": [0.5], "std": [0.25]}},
        generator=functools.partial(Generator, **shape, latent_dim=6, width=2),
        discriminator=functools.partial(Discriminator, **shape, width=2),
        generator_optimizer=functools.partial(torch.optim.Adam, lr=2e-3, betas=(0.0, 0.9)),
        discriminator_optimizer=functools.partial(torch.optim.Adam, lr=4e-3, betas=(0.0, 0.9)),
        gan_epochs=gan_epochs,
        generated_share=generated_share,
    )


def fit(module: AdversarialAugmentation, *callbacks: pl.Callback, **options: object) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "log_every_n_steps": 1}
    settings = {**quiet, "max_epochs": 2, "enable_model_summary": False, "num_sanity_val_steps": 0, **options}
    trainer = pl.Trainer(accelerator="cpu", callbacks=list(callbacks), **settings)
    trainer.fit(module, datamodule=Faces())
    return trainer


class Watch(pl.Callback):
    """Keeps the weights and the metrics after every epoch; row 0 are the weights before the first."""

    def __init__(self) -> None:
        self.states, self.metrics = [], []

    def keep(self, module: pl.LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in module.state_dict().items()})

    def on_train_start(self, trainer, pl_module):
        self.keep(pl_module)

    def on_train_epoch_end(self, trainer, pl_module):
        self.keep(pl_module)
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def changed(self, epoch: int) -> set[str]:
        """Which of the nets changed a weight or a buffer in an epoch, counted from 1."""
        before, after = self.states[epoch - 1], self.states[epoch]
        return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


# The losses and the shares


def test_hinge_losses_are_those_of_the_papers():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0, 2, 50), rng.normal(0, 2, 50)
    expected = np.mean(np.maximum(0, 1 - real)) + np.mean(np.maximum(0, 1 + fake))
    assert float(discriminator_hinge(torch.tensor(real), torch.tensor(fake))) == pytest.approx(expected)
    assert float(generator_hinge(torch.tensor(fake))) == pytest.approx(-fake.mean())


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([100, 50, 25, 25], 0.0, [0, 0, 0, 0]),
        ([100, 50, 25, 25], 1 / 3, [0, 5, 7.5, 7.5]),  # 20 of 60, in the proportions of what is lacking
        ([100, 50, 25, 25], 0.5, [0, 10, 15, 15]),  # 20 + 0, 10 + 10, 5 + 15, 5 + 15: balanced
        ([100, 50, 25, 25], 0.9, [0, 10, 15, 15]),  # and never more than that
        ([7, 7], 0.5, [0, 0]),
        ([30, 0, 10], 0.9, [0, 0, 20]),  # nobody knows what the second class looks like
    ],
)
def test_rare_classes_get_more(counts, share, expected):
    assert expected_generated(counts, 40, share).tolist() == pytest.approx(expected)


def test_a_batch_is_joined_by_as_many_as_expected():
    module = make(generated_share=1 / 3)
    module.class_counts = [100, 50, 25, 25][:3]
    expected = expected_generated(module.class_counts, 35, 1 / 3)
    image, target = torch.randn(35, 1, 32, 32), torch.zeros(35, dtype=torch.long)
    drawn = torch.zeros(3)
    for _ in range(50):
        joined, targets = module._join(image, target)
        assert torch.equal(joined[:35], image) and torch.equal(targets[:35], target)
        assert len(joined) == len(targets) == 35 + round(float(expected.sum()))
        drawn += torch.bincount(targets[35:], minlength=3) / 50
    assert drawn[0] == 0
    assert drawn.tolist() == pytest.approx(expected.tolist(), abs=1.5)
    assert drawn[2] > drawn[1] + 1


def test_label_distributions_are_joined_by_certain_ones():
    module = make()
    module.class_counts = [8, 8, 2]
    soft = torch.full((18, 3), 1 / 3)
    _, targets = module._join(torch.randn(18, 1, 32, 32), soft)
    assert torch.equal(targets[:18], soft)
    assert torch.equal(targets[18:], torch.tensor([[0.0, 0.0, 1.0]]).repeat(6, 1))


def test_generated_images_are_normalised_like_the_data(monkeypatch):
    module = make()
    module.class_counts = [8, 8, 2]
    for value, pixel in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)):
        monkeypatch.setattr(module.generator, "forward", lambda z, y, v=value: torch.full((len(y), 1, 32, 32), v))
        images, _ = module._join(torch.randn(18, 1, 32, 32), torch.zeros(18, dtype=torch.long))
        assert torch.equal(images[18:], torch.full((6, 1, 32, 32), (pixel - 0.5) / 0.25))


def test_the_discriminator_sees_both_in_one_range(monkeypatch):
    """Real pixels 0..1 reach it as -1..1."""
    module, seen = make(), []
    judge = module.discriminator.forward
    monkeypatch.setattr(module.discriminator, "forward", lambda x, y: (seen.append(x), judge(x, y))[1])
    batch = (torch.full((4, 1, 32, 32), 2.0), TARGET)
    monkeypatch.setattr(Faces, "train_dataloader", lambda self: DataLoader([batch], batch_size=None))
    fit(module, limit_val_batches=0)
    assert torch.equal(seen[0][:4], torch.ones(4, 1, 32, 32))
    assert len(seen[0]) == 8 and len(seen[1]) == 4


# Who learns when


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_one_learns_while_the_other_is_frozen(precision):
    watch = Watch()
    fit(make(gan_epochs=2), watch, max_epochs=4, precision=precision)
    assert [watch.changed(epoch) for epoch in (1, 2)] == [{"generator", "discriminator"}] * 2
    assert [watch.changed(epoch) for epoch in (3, 4)] == [{"net"}] * 2
    # All of both; but the bias of the discriminator has no gradient while its scores stay within the hinge.
    gan = {name for name, _ in make().named_parameters() if not name.startswith("net.")}
    learned = {name for name in gan if not torch.equal(watch.states[0][name], watch.states[2][name])}
    assert gan - learned <= {"discriminator.head.bias"}


def test_every_epoch_has_the_metrics_of_the_classifier():
    watch = Watch()
    fit(make(gan_epochs=2), watch, max_epochs=4)
    always = {"train/loss", "train/accuracy", "val/loss", "val/accuracy"}
    assert all(always <= set(metrics) for metrics in watch.metrics)
    assert ["gan/d_loss" in metrics and "gan/g_loss" in metrics for metrics in watch.metrics] == [True] * 2 + [
        False
    ] * 2
    untrained = make().eval()
    image, target = next(iter(Faces().train_dataloader()))
    with torch.no_grad():
        expected = nn.functional.cross_entropy(untrained(image), target)
    assert [metrics["train/loss"] for metrics in watch.metrics[:2]] == pytest.approx([float(expected)] * 2, rel=1e-4)


def test_the_optimizer_gets_the_classifier_alone():
    module = make()
    groups = list(module._parameter_groups())
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in module.net.parameters()}


def test_the_schedule_spans_the_epochs_of_the_classifier():
    asked, rates = [], []

    def scheduler(optimizer, steps, steps_per_epoch):
        asked.append((steps, steps_per_epoch))
        return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)

    class Rates(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(make(gan_epochs=2, scheduler=scheduler), Rates(), max_epochs=5)
    assert asked == [(6, 2)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3, 0])


def test_a_plateau_is_watched_in_the_epochs_of_the_classifier():
    def scheduler(optimizer, steps, steps_per_epoch):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1e9)  # nothing is better

    rates = []

    class Rates(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(make(gan_epochs=3, scheduler=scheduler), Rates(), max_epochs=6)
    assert rates == pytest.approx([1e-2] * 4 + [1e-3, 1e-4])


@pytest.mark.parametrize("largest", [1e-3, None])
def test_the_gradient_of_the_classifier_is_clipped(largest):
    watch = Watch()
    sgd = functools.partial(torch.optim.SGD, lr=1.0)
    fit(make(optimizer=sgd), watch, limit_train_batches=1, gradient_clip_val=largest)
    names = [name for name, _ in make().net.named_parameters(prefix="net")]
    steps = torch.cat([(watch.states[2][name] - watch.states[1][name]).flatten() for name in names])
    assert float(steps.norm()) == pytest.approx(1e-3, rel=1e-2) if largest else float(steps.norm()) > 1e-2


def test_an_average_of_the_weights_can_be_kept():
    assert fit(make(), EMAWeightAveraging(decay=0.9)).current_epoch == 2


# What is refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gan_epochs": 0}, "procedure.gan_epochs must be at least 1; got 0"),
        ({"generated_share": 1.0}, "procedure.generated_share must be at least 0 and below 1; got 1.0"),
    ],
)
def test_options_out_of_range(options, told):
    with pytest.raises(UserError, match=told):
        make(**options)


@pytest.mark.parametrize(
    ("callbacks", "options", "told"),
    [
        ([], {"max_epochs": 3}, "trainer.max_epochs must exceed procedure.gan_epochs=3, .* got 3"),
        ([], {"max_epochs": -1}, "trainer.max_epochs must exceed procedure.gan_epochs=3, .* got -1"),
        ([], {"accumulate_grad_batches": 2}, "use trainer.accumulate_grad_batches=1"),
        (
            [EarlyStopping("val/loss", patience=2)],
            {},
            "early_stopping.patience must be at least procedure.gan_epochs=3, .* got 2",
        ),
    ],
)
def test_trainers_that_would_do_something_else(callbacks, options, told):
    with pytest.raises(UserError, match=told):
        fit(make(gan_epochs=3), *callbacks, **{"max_epochs": 5, **options})


def test_side_vectors_are_refused(monkeypatch):
    batch = (torch.zeros(4, 1, 32, 32), torch.zeros(4, 9), TARGET)
    monkeypatch.setattr(Faces, "train_dataloader", lambda self: DataLoader([batch], batch_size=None))
    with pytest.raises(UserError, match="without auxiliary input"):
        fit(make(), limit_val_batches=0)


def test_a_bad_rate_of_the_gan_is_a_sentence():
    module = make()
    module._discriminator_optimizer = functools.partial(torch.optim.Adam, lr=-1.0)
    with pytest.raises(UserError, match=r"procedure\.discriminator_optimizer: Invalid learning rate"):
        fit(module)


# The whole way


@pytest.fixture(scope="module")
def rare(tiny: list[str], tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that train on `tiny_folder`, from which most `sad` training images are gone."""
    root = tmp_path_factory.mktemp("rare") / "data"
    shutil.copytree(tiny_folder, root)
    for path in sorted((root / "train" / "sad").glob("*.png"))[5:]:
        path.unlink()
    kept = [option for option in tiny if not option.startswith(("data.root=", "callbacks="))]
    small = ["procedure.generator.width=4", "procedure.discriminator.width=4", "procedure.generator.latent_dim=8"]
    return [*kept, f"data.root={root}", "experiment=gan_based", "callbacks=[generated_faces]", *small]


@pytest.fixture(scope="module")
def whole(rare: list[str], tmp_path_factory: pytest.TempPathFactory, fer_undrawn) -> Path:
    """Folder of a run of two epochs of the GAN and two of the classifier. Do not write to it."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert fer_undrawn("train", *rare, *FOUR_EPOCHS, f"hydra.run.dir={folder}") == 0
    return folder


def test_a_run_leaves_a_normal_record_and_the_pictures(whole):
    record = RunRecord.read(whole)
    assert record.metrics["model"] == "ResNet" and record.metrics["protocol"]["counts"]["train"] == 33
    assert record.history["epoch"].tolist() == [1, 2, 3, 4]
    regular = [name for name in record.history if not name.startswith("gan/")]
    assert {"train/loss", "train/accuracy", "val/accuracy"} <= set(regular)
    assert not record.history[regular].isna().any().any()
    assert record.history["gan/d_loss"].isna().tolist() == [False, False, True, True]
    assert load_net(whole).classes == ("happy", "sad", "surprise")
    figures = sorted(path.name for path in (whole / "figures").glob("generated*"))
    assert figures == ["generated_epoch_01.png", "generated_epoch_02.png"]
    first, second = (cv2.imread(str(whole / "figures" / name)) for name in figures)
    assert first.shape == second.shape and (first != second).any()


@pytest.mark.parametrize("epoch", [1, 3], ids=["gan", "classifier"])
def test_goes_on_after_a_stop_in_either_phase(epoch, whole, rare, fer_undrawn, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    start = History.on_train_epoch_start

    def killed(self, trainer, pl_module):
        if trainer.current_epoch == epoch:
            raise Killed
        start(self, trainer, pl_module)

    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_epoch_start", killed)
        with pytest.raises(Killed):
            fer_undrawn("train", *rare, *FOUR_EPOCHS, f"hydra.run.dir={tmp_path}")
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file() and not (tmp_path / "metrics.json").exists()
    assert fer_undrawn("train", f"resume={tmp_path}") == 0

    for name in ("best.ckpt", "last.ckpt"):
        one, other = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (whole, tmp_path))
        assert one["epoch"] == other["epoch"]
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())
    one, other = RunRecord.read(whole), RunRecord.read(tmp_path)
    timing = [column for column in one.history if "seconds" in column]
    pd.testing.assert_frame_equal(one.history.drop(columns=timing), other.history.drop(columns=timing))
    pd.testing.assert_frame_equal(one.predictions, other.predictions)
