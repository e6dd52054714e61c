"""What a generator draws, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from fer_lightning.errors import UserError
from fer_lightning.plots.contact_sheet import draw_contact_sheet
from fer_lightning.training.gan_augmentation import AdversarialAugmentation
from fer_lightning.training.epoch_picture import show_picture


class GeneratedFaces(pl.Callback):
    """Draws faces after every epoch of the GAN, one row a class, to `figures/generated_epoch_<number>.png`.

    The noise is the same in every epoch, and the same in every row. W&B and TensorBoard get the sheets as
    `gan/generated`.

    Args:
        folder: The run folder.
        columns: Faces of each class.

    Raises:
        UserError: In training, if the procedure has no generator.
    """

    def __init__(self, folder: str, columns: int) -> None:
        self.folder = Path(folder)
        self.columns = columns

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and not isinstance(pl_module, AdversarialAugmentation):
            raise UserError("callbacks=generated_faces needs a generator: use procedure=gan.")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, AdversarialAugmentation)
        if not pl_module.trains_gan:
            return
        epoch = trainer.current_epoch + 1
        figure = draw_contact_sheet(
            self._faces(pl_module),
            [name for name in pl_module.description["classes"] for _ in range(self.columns)],
            self.columns,
            f"generated after epoch {epoch}",
        )
        show_picture(trainer, self.folder, f"generated_epoch_{epoch:02d}", "gan/generated", figure)

    def _faces(self, module: AdversarialAugmentation) -> np.ndarray:
        """uint8 `(K * columns, H, W, C)`."""
        noise = torch.randn(self.columns, module.latent_dim, generator=torch.Generator().manual_seed(0))
        latent = noise.repeat(module.num_classes, 1).to(module.device)
        label = torch.arange(module.num_classes, device=module.device).repeat_interleave(self.columns)
        pixels = module.pixels(latent, label).mul(255).round().byte()
        return pixels.permute(0, 2, 3, 1).cpu().numpy()
