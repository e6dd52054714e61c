"""A conditional GAN first; then the classifier, on real images joined by generated ones of rare classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from fer_lightning.errors import UserError
from fer_lightning.plots.contact_sheet import draw_contact_sheet
from fer_lightning.training.callbacks import show_picture
from fer_lightning.training.classifier import ExpressionClassifier, OptimizerFactory, hard
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.trainer_options import StopAfterSteps, planned_steps


class AdversarialAugmentation(ExpressionClassifier):
    """Trains a GAN for `gan_epochs` epochs, and the classifier for the rest of them.

    While the GAN trains, the classifier stays as it was initialised. So that every epoch has the same metrics,
    `train/loss` and `train/accuracy` then are those of the untrained classifier on the first batch of the epoch, and
    validation scores the untrained classifier too; none of these epochs can be selected. `gan/d_loss` and
    `gan/g_loss` are logged beside them, in these epochs only.

    While the classifier trains, the generator is frozen and in evaluation mode, and `train/loss` and `train/accuracy`
    are those of the joined batches. Mixup and CutMix mix real and generated images alike, the learning-rate schedule
    spans these epochs only, and the gradient is clipped as for any other procedure; that of the GAN never is.

    The losses of the GAN are the hinge losses of T. Miyato, M. Koyama (2018), https://arxiv.org/abs/1802.05637, and
    J. H. Lim, J. C. Ye, Geometric GAN (2017), https://arxiv.org/abs/1705.02894.

    Args:
        net: As in `ExpressionClassifier`, like all up to `description`; takes images alone.
        loss: See there.
        num_classes: K.
        optimizer: Of the classifier.
        scheduler: Of the classifier.
        mixing: Of the classifier's batches.
        channels_last: See there.
        description: See there; `preprocessing` tells how images are normalised.
        generator: Builds the generator from `num_classes`; it has a `latent_dim` L and maps noise `(B, L)` and class
            indices `(B,)` to images `(B, C, H, W)` between -1 and 1.
        discriminator: Builds the discriminator from `num_classes`; it maps such images and class indices to scores
            `(B,)`.
        generator_optimizer: Builds the optimizer of the generator.
        discriminator_optimizer: Builds that of the discriminator.
        gan_epochs: Epochs that train the GAN.
        generated_share: Share of a joined batch that is generated, at most.

    Readings:
        The comparison of PsySFA-Net has a row "GAN-based Model" without a citation or a description, so all of this is
        our choice:

        - The GAN is trained first and then frozen, on the augmented training images, one step of each net a batch. The
          learning rate of the discriminator is four times the generator's (H. Zhang et al., Self-attention generative
          adversarial networks, 2019, https://arxiv.org/abs/1805.08318): at equal rates it could not keep up.
        - The classes of the faces that it draws while it trains are those of the real images of the batch.
        - A real image with a label distribution is shown to it as an image of the likeliest class.
        - `expected_generated` says how many generated images of each class join a batch.

    Raises:
        UserError: An option is out of range.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        num_classes: int,
        optimizer: OptimizerFactory,
        scheduler: Callable[[Optimizer, int, int], LRScheduler] | None,
        mixing: Mixing,
        channels_last: bool,
        description: Mapping[str, Any],
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        generator_optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        gan_epochs: int = 5,
        generated_share: float = 0.25,
    ) -> None:
        super().__init__(net, loss, num_classes, optimizer, scheduler, mixing, channels_last, description)
        if gan_epochs < 1:
            raise UserError(f"procedure.gan_epochs={gan_epochs} is too small: use at least 1, or procedure=supervised.")
        if not 0 <= generated_share < 1:
            raise UserError(
                f"procedure.generated_share={generated_share} is out of range: use 0 up to, not including, 1."
            )
        self.generator = generator(num_classes=num_classes).to(memory_format=self._memory_format)
        self.discriminator = discriminator(num_classes=num_classes).to(memory_format=self._memory_format)
        self.latent_dim = cast(int, self.generator.latent_dim)
        self.num_classes = num_classes
        self.gan_epochs = gan_epochs
        self.generated_share = generated_share
        self._generator_optimizer = generator_optimizer
        self._discriminator_optimizer = discriminator_optimizer
        for name in ("mean", "std"):
            value = torch.tensor(description["preprocessing"][name], dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(f"pixel_{name}", value, persistent=False)

    @property
    def trains_gan(self) -> bool:
        """Whether the current epoch is one of the GAN's."""
        return self.current_epoch < self.gan_epochs

    @property
    def selectable(self) -> bool:
        """Whether the current epoch trains the classifier."""
        return not self.trains_gan

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        self._check_trainer()
        # Not before: of a module that says so at once, Lightning refuses to clip the gradient, which this one can do.
        self.automatic_optimization = False
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.class_counts = datamodule.class_counts("train")

    def _check_trainer(self) -> None:
        if self.trainer.world_size > 1:
            raise UserError("procedure=gan trains in one process: set trainer.devices=1.")
        if self.trainer.accumulate_grad_batches != 1:
            raise UserError("procedure=gan takes a step every batch: set trainer.accumulate_grad_batches=1.")
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if self.trainer.min_steps or any(isinstance(callback, StopAfterSteps) for callback in callbacks):
            raise UserError("procedure=gan has three optimizers: use trainer.max_epochs instead of steps.")
        if (self.trainer.max_epochs or 0) <= self.gan_epochs:
            raise UserError(
                f"trainer.max_epochs={self.trainer.max_epochs} leaves the classifier no epoch after "
                f"procedure.gan_epochs={self.gan_epochs}: raise the one or lower the other."
            )
        for callback in callbacks:
            if isinstance(callback, EarlyStopping) and callback.patience < self.gan_epochs:
                raise UserError(
                    f"callbacks.early_stopping.patience={callback.patience} would stop the run before the classifier "
                    f"trains: use at least procedure.gan_epochs={self.gan_epochs}."
                )

    def configure_optimizers(self) -> Any:
        classifier = super().configure_optimizers()
        try:
            gan = [
                self._generator_optimizer(self.generator.parameters()),
                self._discriminator_optimizer(self.discriminator.parameters()),
            ]
        except ValueError as error:
            raise UserError(f"procedure.generator_optimizer or procedure.discriminator_optimizer: {error}") from error
        return [classifier, *({"optimizer": optimizer} for optimizer in gan)]

    def _parameter_groups(self) -> Iterator[dict[str, Any]]:
        foreign = {id(parameter) for part in (self.generator, self.discriminator) for parameter in part.parameters()}
        for group in super()._parameter_groups():
            yield {**group, "params": [parameter for parameter in group["params"] if id(parameter) not in foreign]}

    def _schedule(self, optimizer: Optimizer) -> dict[str, Any]:
        if self._scheduler is None:
            return {}
        steps = planned_steps(self.trainer)
        steps_per_epoch = int(self.trainer.num_training_batches)
        scheduler = self._scheduler(optimizer, steps - self.gan_epochs * steps_per_epoch, steps_per_epoch)
        return {"lr_scheduler": {"scheduler": scheduler}}

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.generator.train(self.trains_gan)
        self.discriminator.train(self.trains_gan)
        self.net.train(not self.trains_gan)
        self.loss.train(not self.trains_gan)

    def training_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        if len(batch) != 2:
            raise UserError("procedure=gan generates images without side vectors: choose a model that takes none.")
        image, target = batch
        if not self.trains_gan:
            return self._classifier_step(image, target, batch_index)
        if batch_index == 0:
            with torch.no_grad():
                super().training_step(batch, batch_index)
        return self._gan_step(image, hard(target))

    def _gan_step(self, image: Tensor, label: Tensor) -> Tensor:
        _, generator_optimizer, discriminator_optimizer = self._optimizers()
        real = 2 * (image * self.pixel_std + self.pixel_mean) - 1
        latent = torch.randn(len(image), self.latent_dim, device=image.device)
        fake = self.generator(latent, label)

        both = torch.cat([real, fake.detach()]).contiguous(memory_format=self._memory_format)
        real_scores, fake_scores = self.discriminator(both, label.repeat(2)).chunk(2)
        d_loss = discriminator_hinge(real_scores, fake_scores)
        self._descend(discriminator_optimizer, d_loss)

        self.toggle_optimizer(generator_optimizer)
        g_loss = generator_hinge(self.discriminator(fake, label))
        self._descend(generator_optimizer, g_loss)
        self.untoggle_optimizer(generator_optimizer)

        values = {"gan/d_loss": d_loss, "gan/g_loss": g_loss}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(image))
        return d_loss

    def _classifier_step(self, image: Tensor, target: Tensor, batch_index: int) -> Tensor:
        optimizer = self._optimizers()[0]
        loss = super().training_step(self._join(image, target), batch_index)
        self._descend(optimizer, loss, clip=True)
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LRScheduler) and not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
        return loss

    def on_train_start(self) -> None:
        """Refuses what would clip gradients before they are unscaled.

        Raises:
            UserError: fp16, clipping, and an optimizer that is not fused.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        fused = getattr(self._optimizers()[0].optimizer, "_step_supports_amp_scaling", False)
        if scaler is not None and (self.trainer.gradient_clip_val or 0) > 0 and not fused:
            raise UserError("procedure=gan clips fp16 gradients of fused optimizers only: set optimizer.fused=true.")

    def _optimizers(self) -> list[Any]:
        """Those of the classifier, the generator and the discriminator."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def _descend(self, optimizer: Any, loss: Tensor, clip: bool = False) -> None:
        self.manual_backward(loss)
        if clip:
            trainer = self.trainer
            self.configure_gradient_clipping(
                optimizer.optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
            )
        optimizer.step()
        # At once: the norm by which gradients are clipped is that of all parameters of the module.
        optimizer.zero_grad()

    def _join(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A batch `(B, C, H, W)` with its targets, and behind it generated images with theirs."""
        expected = expected_generated(self.class_counts, len(image), self.generated_share)
        count = round(float(expected.sum()))
        if count == 0:
            return image, target
        label = torch.multinomial(expected, count, replacement=True).to(image.device)
        latent = torch.randn(count, self.latent_dim, device=image.device)
        generated = (self.pixels(latent, label) - self.pixel_mean) / self.pixel_std
        if target.ndim == 2:
            return torch.cat([image, generated]), torch.cat([target, F.one_hot(label, self.num_classes).to(target)])
        return torch.cat([image, generated]), torch.cat([target, label])

    @torch.no_grad()
    def pixels(self, latent: Tensor, label: Tensor) -> Tensor:
        """Generated faces as pixel values 0..1, `(B, C, H, W)`, of noise `(B, L)` and class indices `(B,)`.

        Leaves the generator in evaluation mode, from which the next epoch of the GAN takes it back.
        """
        return (self.generator.eval()(latent, label) + 1) / 2


def discriminator_hinge(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """`mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake)))` of scores `(B,)`."""
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def generator_hinge(fake_scores: Tensor) -> Tensor:
    """`-mean(D(fake))` of scores `(B,)`."""
    return -fake_scores.mean()


def expected_generated(class_counts: Sequence[int], batch_size: int, share: float) -> Tensor:
    """How many generated images of each class join a batch, on average.

    A class lacks as many images as it has fewer than the largest class. Each gets the same part of what it lacks: all
    of it, which balances the classes, or as much as makes `share` of the joined batch generated, if that is less. A
    class without any image gets none, because the GAN has not seen it.

    Args:
        class_counts: Training images of each class, `(K,)`.
        batch_size: Real images B of the batch.
        share: Generated share of the joined batch, at most, 0 <= share < 1.

    Returns:
        `(K,)`, in images; not whole numbers.
    """
    counts = torch.tensor(class_counts, dtype=torch.float64)
    lacking = (counts.max() - counts) * (counts > 0) * batch_size / counts.sum()
    most = batch_size * share / (1 - share)
    return lacking * (most / lacking.sum()).clamp(max=1) if lacking.any() else lacking


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

    def __init__(self, folder: str, columns: int = 8) -> None:
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
