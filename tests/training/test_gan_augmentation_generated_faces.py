from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import nn

from fer_lightning.errors import UserError
from fer_lightning.training.gan_augmentation import AdversarialAugmentation, GeneratedFaces
from fer_lightning.training.mixup import Mixing


class Flat(nn.Module):
    """Draws one shade a class, and the first column of noise on top."""

    latent_dim = 2

    def __init__(self, num_classes: int) -> None:
        super().__init__()

    def forward(self, latent, label):
        shade = (label - 1.0) * 0.5 + latent[:, 0] * 1e-3
        return shade.view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def make() -> AdversarialAugmentation:
    return AdversarialAugmentation(
        net=nn.Linear(1, 3),
        loss=nn.CrossEntropyLoss(),
        num_classes=3,
        optimizer=torch.optim.AdamW,
        scheduler=None,
        mixing=Mixing(0.0, 0.0, 1.0, 3),
        channels_last=False,
        description={"classes": ["a", "b", "c"], "preprocessing": {"mean": [0.5], "std": [0.25]}},
        generator=Flat,
        discriminator=lambda num_classes: nn.Linear(1, 1),
        generator_optimizer=torch.optim.Adam,
        discriminator_optimizer=torch.optim.Adam,
        gan_epochs=2,
        generated_share=0.5,
    )


class Trainer(SimpleNamespace):
    """What the callback and the module ask of a trainer after an epoch."""

    def __init__(self, epoch: int, loggers: tuple = ()) -> None:
        fit_loop = SimpleNamespace(total_batch_idx=77)
        super().__init__(current_epoch=epoch, loggers=loggers, fit_loop=fit_loop)


def end_epoch(callback: GeneratedFaces, trainer: Trainer) -> None:
    module = make()
    module._trainer = trainer
    callback.on_train_epoch_end(trainer, module)


def test_faces_come_class_by_class_with_the_same_noise():
    callback = GeneratedFaces("unused", columns=2)
    faces = callback._faces(make())
    noise = torch.randn(2, 2, generator=torch.Generator().manual_seed(0))[:, 0].numpy()
    shade = np.repeat([-0.5, 0.0, 0.5], 2) + np.tile(noise, 3) * 1e-3
    assert faces.shape == (6, 4, 4, 1) and faces.dtype == np.uint8
    assert faces[:, 0, 0, 0].tolist() == np.round((shade + 1) / 2 * 255).tolist()


def test_sheets_are_drawn_in_the_epochs_of_the_gan_only(tmp_path):
    for epoch in range(4):
        end_epoch(GeneratedFaces(str(tmp_path), columns=2), Trainer(epoch))
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["generated_epoch_01.png", "generated_epoch_02.png"]
    assert cv2.imread(str(tmp_path / "figures" / names[0])).std() > 0


def test_wandb_gets_the_sheet(tmp_path):
    class Wandb(WandbLogger):
        def __init__(self):
            self.got = []

        def log_image(self, key, images, step=None, **options):
            self.got.append((key, images, step))

    logger = Wandb()
    end_epoch(GeneratedFaces(str(tmp_path), columns=2), Trainer(0, (logger,)))
    assert logger.got == [("gan/generated", [str(tmp_path / "figures" / "generated_epoch_01.png")], 77)]


def test_tensorboard_gets_the_sheet(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    end_epoch(GeneratedFaces(str(tmp_path), columns=2), Trainer(0, (logger,)))
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Images("gan/generated")] == [77]


def test_other_procedures_have_no_generator():
    with pytest.raises(UserError, match="callbacks=generated_faces needs a generator: use procedure=gan"):
        GeneratedFaces("unused", columns=2).setup(pl.Trainer(logger=False), pl.LightningModule(), "fit")
