"""GAN augmentation: a conditional GAN is trained first, then the classifier on real and generated images."""

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
    """Trains a GAN for `gan_epochs` epochs, then the classifier for the remaining ones.

    While the GAN trains, the classifier keeps its initial weights. So that every epoch has the same metrics,
    `train/loss` and `train/accuracy` are then those of the untrained classifier on the first batch of the epoch, and
    validation scores the untrained classifier; none of these epochs can be selected. `gan/d_loss` and `gan/g_loss` are
    logged in these epochs only.

    While the classifier trains, the generator is frozen and in evaluation mode, and `train/loss` and `train/accuracy`
    are those of the joined batches. Mixup and CutMix mix real and generated images alike, the learning-rate schedule
    spans these epochs only, and the gradient of the classifier is clipped as usual; that of the GAN is not.

    The losses of the GAN are the hinge losses of T. Miyato, M. Koyama (2018), https://arxiv.org/abs/1802.05637, and
    J. H. Lim, J. C. Ye, Geometric GAN (2017), https://arxiv.org/abs/1705.02894.

    Args:
        net: Network that takes images only; this argument and those up to `description` are as in
            `ExpressionClassifier`.
        loss: Loss of the classifier.
        num_classes: Number K of classes.
        optimizer: Builds the optimizer of the classifier.
        scheduler: Builds the learning-rate schedule of the classifier.
        mixing: Mixup and CutMix of the joined batches.
        channels_last: Use the channels-last memory format.
        description: Description of the run; its `preprocessing` has the mean and standard deviation of the images.
        generator: Builds the generator from `num_classes`; it has a `latent_dim` L and maps noise `(B, L)` and class
            indices `(B,)` to images `(B, C, H, W)` between -1 and 1.
        discriminator: Builds the discriminator from `num_classes`; it maps such images and class indices to scores
            `(B,)`.
        generator_optimizer: Builds the optimizer of the generator.
        discriminator_optimizer: Builds the optimizer of the discriminator.
        gan_epochs: Number of epochs that train the GAN.
        generated_share: Largest share of a joined batch that is generated.
        compile_net: Compile the classifier with `torch.compile`.

    Readings:
        The comparison of PsySFA-Net has a row "GAN-based Model" without a citation or a description, so all of this is
        our choice:

        - The GAN is trained first and then frozen, on the augmented training images, one step of each net a batch. The
          learning rate of the discriminator is four times the generator's (H. Zhang et al., Self-attention generative
          adversarial networks, 2019, https://arxiv.org/abs/1805.08318): at equal rates it falls behind.
        - While the GAN trains, the classes of its images are those of the real images of the batch.
        - A real image with a label distribution counts as an image of its likeliest class.
        - `expected_generated` defines how many generated images of each class join a batch.

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
        compile_net: bool = False,
    ) -> None:
        super().__init__(
            net, loss, num_classes, optimizer, scheduler, mixing, channels_last, description, compile_net=compile_net
        )
        if gan_epochs < 1:
            raise UserError(
                f"procedure.gan_epochs must be at least 1; got {gan_epochs}: use procedure=supervised for no GAN."
            )
        if not 0 <= generated_share < 1:
            raise UserError(f"procedure.generated_share must be at least 0 and below 1; got {generated_share}.")
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
        """Whether the current epoch trains the GAN."""
        return self.current_epoch < self.gan_epochs

    @property
    def selectable(self) -> bool:
        """Whether the current epoch trains the classifier."""
        return not self.trains_gan

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        self._check_trainer()
        # Not in the constructor: Lightning would then refuse gradient clipping, which this module does itself.
        self.automatic_optimization = False
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.class_counts = datamodule.class_counts("train")

    def _check_trainer(self) -> None:
        if self.trainer.world_size > 1:
            raise UserError("procedure=gan trains in one process: use trainer.devices=1.")
        if self.trainer.accumulate_grad_batches != 1:
            raise UserError("procedure=gan takes a step every batch: use trainer.accumulate_grad_batches=1.")
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if self.trainer.min_steps or any(isinstance(callback, StopAfterSteps) for callback in callbacks):
            raise UserError("procedure=gan has three optimizers: use trainer.max_epochs instead of steps.")
        if (self.trainer.max_epochs or 0) <= self.gan_epochs:
            raise UserError(
                f"trainer.max_epochs must exceed procedure.gan_epochs={self.gan_epochs}, after which the classifier "
                f"trains; got {self.trainer.max_epochs}."
            )
        for callback in callbacks:
            if isinstance(callback, EarlyStopping) and callback.patience < self.gan_epochs:
                raise UserError(
                    f"callbacks.early_stopping.patience must be at least procedure.gan_epochs={self.gan_epochs}, "
                    f"or the run stops before the classifier trains; got {callback.patience}."
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
        of_gan = {id(parameter) for part in (self.generator, self.discriminator) for parameter in part.parameters()}
        for group in super()._parameter_groups():
            yield {**group, "params": [parameter for parameter in group["params"] if id(parameter) not in of_gan]}

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
            raise UserError("procedure=gan generates images without auxiliary input: choose a model that takes none.")
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
        """Checks that gradients are unscaled before they are clipped.

        Raises:
            UserError: fp16 with gradient clipping and an optimizer that is not fused.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        fused = getattr(self._optimizers()[0].optimizer, "_step_supports_amp_scaling", False)
        if scaler is not None and (self.trainer.gradient_clip_val or 0) > 0 and not fused:
            raise UserError("procedure=gan clips fp16 gradients of fused optimizers only: use optimizer.fused=true.")

    def _optimizers(self) -> list[Any]:
        """Optimizers of the classifier, the generator and the discriminator."""
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
        # Now, because clipping uses the norm of the gradients of all parameters of the module.
        optimizer.zero_grad()

    def _join(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A batch `(B, C, H, W)` and its targets, with generated images and their targets appended."""
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
        """Generated images `(B, C, H, W)` with values in 0..1, from noise `(B, L)` and class indices `(B,)`.

        The generator is left in evaluation mode; the next epoch of the GAN restores training mode.
        """
        return (self.generator.eval()(latent, label) + 1) / 2


def discriminator_hinge(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """`mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake)))` of scores `(B,)`."""
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def generator_hinge(fake_scores: Tensor) -> Tensor:
    """`-mean(D(fake))` of scores `(B,)`."""
    return -fake_scores.mean()


def expected_generated(class_counts: Sequence[int], batch_size: int, share: float) -> Tensor:
    """Expected number of generated images of each class in a joined batch.

    The deficit of a class is its difference in images from the largest class. Every class gets the same fraction of its
    deficit: all of it, which balances the classes, or less where more than `share` of the joined batch would be
    generated. A class without images gets none, because the GAN has not seen it.

    Args:
        class_counts: Training images of each class, `(K,)`.
        batch_size: Number B of real images in the batch.
        share: Largest generated share of the joined batch, 0 <= share < 1.

    Returns:
        Numbers of images `(K,)`, not integers.
    """
    counts = torch.tensor(class_counts, dtype=torch.float64)
    deficit = (counts.max() - counts) * (counts > 0) * batch_size / counts.sum()
    most = batch_size * share / (1 - share)
    return deficit * (most / deficit.sum()).clamp(max=1) if deficit.any() else deficit


class GeneratedFaces(pl.Callback):
    """Contact sheet of generated faces, one row a class, after every epoch of the GAN.

    It is saved as `figures/generated_epoch_<number>.png` and logged to W&B and TensorBoard as `gan/generated`. The
    noise is the same in every epoch and in every row.

    Args:
        folder: The run folder.
        columns: Number of faces of each class.

    Raises:
        UserError: On `setup` for training, the procedure has no generator.
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
        """Generated images, uint8 `(K * columns, H, W, C)`."""
        noise = torch.randn(self.columns, module.latent_dim, generator=torch.Generator().manual_seed(0))
        latent = noise.repeat(module.num_classes, 1).to(module.device)
        label = torch.arange(module.num_classes, device=module.device).repeat_interleave(self.columns)
        pixels = module.pixels(latent, label).mul(255).round().byte()
        return pixels.permute(0, 2, 3, 1).cpu().numpy()
