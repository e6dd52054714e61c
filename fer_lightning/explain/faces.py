"""The faces that are explained, and what SHAP compares them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.explain.chosen_rows import candidates, choose_rows
from fer_lightning.training.classifier import hard
from fer_lightning.training.inference import Inference

_OF_EACH_CLASS = 48  # rows that are predicted, of which the shown ones are chosen
_BACKGROUND = 64
_BLURS = np.linspace(0.04, 0.2, 12)  # standard deviations, in sides of the image


@dataclass(frozen=True)
class Faces:
    """N faces.

    Attributes:
        names: Of each.
        pixels: uint8 (N, S, S, C).
        image: The same, normalised (N, C, S, S).
        side: Side vectors (N, D) for networks that take them.
        target: True class indices (N,), in the classes of the network; None where they are not known.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    image: Tensor
    side: Tensor | None
    target: np.ndarray | None


def faces_of_split(
    datamodule: ExpressionDataModule, split: str, classes: Sequence[str], inference: Inference, count: int, seed: int
) -> Faces:
    """Chooses faces of a split: all classes in turn, half of them right and half wrong as far as there are any.

    Args:
        datamodule: Set up, in the preprocessing of the network.
        split: `"train"`, `"val"` or `"test"`.
        classes: Those of the network; faces of other classes are passed over.
        inference: The network.
        count: How many.
        seed: Of the draw.

    Raises:
        UserError: Network and data share no class.
    """
    dataset = datamodule.dataset(split)
    index = {name: place for place, name in enumerate(classes)}
    known = np.array([index.get(name, -1) for name in datamodule.label_set.classes])
    labels = known[hard(dataset.targets).numpy()]
    of_known = np.flatnonzero(labels >= 0)
    if not len(of_known):
        raise UserError(f"The net knows {', '.join(classes)}: {datamodule.dataset_name} has none of these.")
    rows = of_known[candidates(labels[of_known], _OF_EACH_CLASS, seed)]
    with torch.inference_mode():
        batches = [dataset.__getitems__(part.tolist()) for part in np.array_split(rows, -(-len(rows) // 128))]
        predicted = torch.cat([inference.predict_step(batch, 0)[0] for batch in batches]).argmax(1).numpy()
    rows = rows[choose_rows(labels[rows], predicted, count)]
    image, *side, _ = dataset.__getitems__(rows.tolist())
    names = tuple(map(str, datamodule.ids(split)[rows]))
    return Faces(names, dataset.pixels(rows), image, side[0] if side else None, labels[rows])


def training_background(datamodule: ExpressionDataModule, seed: int) -> Tensor:
    """Normalised training faces (N, C, S, S), drawn at random; the average face that a picture is compared with."""
    dataset = datamodule.dataset("train")
    rows = np.random.default_rng(seed).permutation(len(dataset))[:_BACKGROUND]
    return dataset.__getitems__(rows.tolist())[0]


def blurred_background(image: Tensor) -> Tensor:
    """Copies (12 * N, C, S, S) of images (N, C, S, S), blurred more and more, for want of training faces."""
    side = image.shape[-1]
    size = 2 * (side // 2) - 1
    return torch.cat([gaussian_blur(image, [size, size], [share * side] * 2) for share in _BLURS])
