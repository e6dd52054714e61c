"""Class probabilities of trained networks for the training images, from which `loss=distillation` learns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.store import track_once
from fer_lightning.evaluation.scoring import Inference
from fer_lightning.files import write_whole
from fer_lightning.training.checkpoints import TrainedNet
from fer_lightning.training.safetensors_weights import find_checkpoint
from fer_lightning.training.voting import load_members


def teach(datamodule: ExpressionDataModule, checkpoints: Sequence[str], tta: str, device: torch.device) -> None:
    """Adds the mean probabilities of trained networks to the training targets of a data module.

    The probabilities of a network are computed once, for the images without augmentation, and kept in
    `datamodule.cache_dir`. A network may have another preprocessing, such as a larger image size, than the data module.

    Args:
        datamodule: Data module of the student, after `setup`; its training targets become `(N, 2, K)`.
        checkpoints: Run folders, `.ckpt` or `.safetensors` files; a vote is one of them.
        tta: Views of an image whose probabilities are averaged, see `fer_lightning.models.weighted_voting.views`.
        device: Device of the networks.

    Raises:
        UserError: A file is not a checkpoint; or its network has an auxiliary input, or another protocol, under which
            it may have been trained on evaluation images of the student.
    """
    files = [find_checkpoint(checkpoint, "teacher") for checkpoint in checkpoints]
    teachers = load_members(checkpoints, datamodule.protocol, {}, option="teacher", whole="its student")
    probabilities = [_probabilities(*each, datamodule, tta, device) for each in zip(files, teachers)]
    datamodule.add_teacher(np.mean(probabilities, axis=0))


def _probabilities(
    path: Path, trained: TrainedNet, datamodule: ExpressionDataModule, tta: str, device: torch.device
) -> np.ndarray:
    digest = hashlib.sha256(f"{tta} {datamodule.protocol.fingerprint} ".encode())
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    cache = Path(datamodule.cache_dir).expanduser() / f"teacher-{digest.hexdigest()[:24]}.npy"
    if not cache.is_file():
        probabilities = _predict(trained, datamodule, tta, device)
        write_whole(cache, lambda unfinished: np.save(unfinished, probabilities))
    return np.load(cache)


@torch.inference_mode()
def _predict(trained: TrainedNet, datamodule: ExpressionDataModule, tta: str, device: torch.device) -> np.ndarray:
    """Probabilities `(N, K)` float32 of the training images, in the order of `datamodule.ids("train")`."""
    images = replace(datamodule, **trained.description["preprocessing"], transforms=())
    images.setup()
    inference = Inference(trained.net, tta=tta).to(device).eval()
    loader = images.eval_dataloader("train")
    count, where = len(datamodule.ids("train")), f"kept in {datamodule.cache_dir}"
    batches = track_once(loader, "Predicting with the teacher", count, len(loader), where)
    return np.concatenate(
        [inference.predict_step((batch[0].to(device), batch[1]), 0)[0].cpu().numpy() for batch in batches]
    )
