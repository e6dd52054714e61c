"""Explanation of the predictions of one network for some faces, and the selection of these faces."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.store import track
from fer_lightning.errors import UserError
from fer_lightning.evaluation.scoring import Inference
from fer_lightning.explain.attention import attention_maps, fusion_shares
from fer_lightning.explain.faithfulness import Curves, area_table, compare, moved, noise, trace, verdicts
from fer_lightning.explain.feature_maps import feature_maps
from fer_lightning.explain.figures import (
    Strip,
    draw_curves,
    draw_strips,
    faces_strip,
    heat_strip,
    map_strip,
    signed_strip,
    target_caption,
)
from fer_lightning.explain.gradcam import gradcam
from fer_lightning.explain.shap_values import ShapMaps, shap_maps
from fer_lightning.models.psysfa_net import PsySFANet
from fer_lightning.models.weighted_voting import WeightedVoting
from fer_lightning.training.classifier import hard

_DrawStrip = Callable[[str, np.ndarray, np.ndarray, Sequence[str]], Strip]
_SHOWN = 8  # faces in figures of many rows
_OF_EACH_CLASS = 48  # rows that are predicted, from which the shown ones are chosen
_BACKGROUND = 64
_BLURS = np.linspace(0.04, 0.2, 12)  # standard deviations as shares of the image size


class Explanation:
    """Maps of two classes of each face: the predicted class, and the true class or, without labels, the second guess.

    Args:
        net: Network in evaluation mode on the CPU.
        classes: Names of the K classes.
        faces: Faces to explain.
        temperature: Temperature of the logits, in `probabilities` and in the curves, as in prediction.

    Attributes:
        sentences: Verdict on each kind of map, whether it beats a random map; set by `judge`.
    """

    def __init__(self, net: nn.Module, classes: Sequence[str], faces: Faces, temperature: float) -> None:
        self.net = net
        self.classes = classes
        self.faces = faces
        self.temperature = temperature
        with torch.inference_mode():
            logits = net(faces.image) if faces.side is None else net(faces.image, faces.side)
        self.probabilities = (logits.float() / temperature).softmax(1).numpy()
        order = np.argsort(-self.probabilities, axis=1)
        other = order[:, 1] if faces.target is None else faces.target
        names = ("predicted class", "second guess" if faces.target is None else "true class")
        self.targets = dict(zip(names, (order[:, 0], other)))
        self.heat = {name: self._gradcam(target) for name, target in self.targets.items()}
        self.shap: dict[str, ShapMaps] = {}
        self.shap_note = ""
        self.curves: dict[str, Curves] = {}
        self.moved: dict[str, list[Curves]] = {}
        self.noise: list[Curves] = []
        self.judged: dict[str, pd.DataFrame] = {}
        self.sentences: list[str] = []

    def _gradcam(self, target: np.ndarray) -> np.ndarray:
        return gradcam(self.net, self.faces.image, torch.from_numpy(target), self.faces.side)

    def add_shap(self, method: str, background: Tensor, background_name: str, samples: int) -> None:
        """Computes SHAP values of both classes, see `shap_maps`; the name of the background describes it."""
        against = background_name if method == "gradient" else "the blurred face"
        self.shap_note = f"{method} explainer, smoothed: red for, blue against the class; compared with {against}"
        for name, target in self.targets.items():
            index = torch.from_numpy(target)
            self.shap[name] = shap_maps(self.net, self.faces.image, index, method, background, samples, self.faces.side)

    def judge(self, steps: int, random_maps: int) -> None:
        """Traces deletion and insertion of the predicted class with each map, and with random ones of each kind."""
        predicted = self.targets["predicted class"]
        maps = {"Grad-CAM": self.heat["predicted class"]}
        if self.shap:
            maps["SHAP"] = self.shap["predicted class"].values
        jobs = [(name, "map", 0, values) for name, values in maps.items()]
        jobs += [
            (name, "moved", seed, moved(values, seed)) for name, values in maps.items() for seed in range(random_maps)
        ]
        jobs += [("", "noise", seed, noise(self.heat["predicted class"].shape, seed)) for seed in range(random_maps)]
        for name, kind, seed, values in track(jobs, "Deletion and insertion"):
            curves = trace(
                self.net,
                self.faces.image,
                torch.from_numpy(predicted),
                values,
                steps,
                seed,
                self.faces.side,
                self.temperature,
            )
            if kind == "map":
                self.curves[name] = curves
            else:
                (self.noise if kind == "noise" else self.moved.setdefault(name, [])).append(curves)
        areas = area_table(self.faces.names, self.curves, self.moved, self.noise)
        summary = compare(areas)
        self.judged = {"faithfulness": areas, "faithfulness_summary": summary}
        self.sentences = verdicts(summary)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by file name without suffix: `faces`, and of `attention`, `shap`, `faithfulness` and
        `faithfulness_summary` those that were computed."""
        tables = {"faces": self._face_table()}
        if isinstance(self.net, PsySFANet) and self.net.fusion is not None:
            tables["attention"] = self._attention_table(self.net)
        if self.shap:
            tables["shap"] = self._shap_table()
        return tables | self.judged

    def _face_table(self) -> pd.DataFrame:
        names = np.array(self.classes)
        known = self.faces.target
        columns = {"face": self.faces.names, "true": None if known is None else names[known]}
        columns["predicted"] = names[self.probabilities.argmax(1)]
        return pd.DataFrame(columns).join(pd.DataFrame(self.probabilities, columns=[f"prob_{name}" for name in names]))

    def _attention_table(self, net: PsySFANet) -> pd.DataFrame:
        shares = fusion_shares(net, self.faces.image)
        sources = list(net.blocks)
        rows = [
            (face, listener, source, share[row, column])
            for face, share in zip(self.faces.names, shares)
            for row, listener in enumerate(sources)
            for column, source in enumerate(sources)
        ]
        return pd.DataFrame(rows, columns=["face", "listener", "source", "share"])

    def _shap_table(self) -> pd.DataFrame:
        parts = [
            pd.DataFrame(
                {
                    "face": self.faces.names,
                    "class": np.array(self.classes)[self.targets[name]],
                    "base": maps.base,
                    "score": maps.score,
                    "sum_of_values": maps.values.sum((1, 2)),
                }
            )
            for name, maps in self.shap.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def draw(self) -> dict[str, Figure]:
        """Figures by file name without suffix: `gradcam`, `features`, and of `attention`, `shap` and `faithfulness`
        those that were computed; for an ensemble, features and attention of each member."""
        figures = {"gradcam": self._draw_classes("Grad-CAM", self.heat, heat_strip, "warm: evidence for the class")}
        members = list(self.net.members) if isinstance(self.net, WeightedVoting) else [self.net]
        for number, member in enumerate(members, start=1):
            suffix = f"_{number}" if len(members) > 1 else ""
            figures |= {f"{name}{suffix}": figure for name, figure in self._draw_inside(member).items()}
        if self.shap:
            values = {name: maps.values for name, maps in self.shap.items()}
            figures["shap"] = self._draw_classes("SHAP", values, signed_strip, self.shap_note)
        if self.curves:
            count = len(self.faces.names)
            figures["faithfulness"] = draw_curves(
                self.curves, self.moved, self.noise, f"Deletion and insertion, {count} face{'s' * (count > 1)}"
            )
        return figures

    def _draw_classes(self, kind: str, maps: Mapping[str, np.ndarray], strip: _DrawStrip, note: str) -> Figure:
        rows = [
            strip(name, self.faces.pixels, values, target_caption(self.probabilities, self.targets[name], self.classes))
            for name, values in maps.items()
        ]
        return draw_strips(
            [self._faces_strip(np.arange(len(self.faces.names))), *rows], f"{kind}: {type(self.net).__name__}", note
        )

    def _faces_strip(self, shown: np.ndarray) -> Strip:
        if self.faces.target is None:
            captions = list(self.faces.names)
        else:
            captions = [f"true: {self.classes[index]}" for index in self.faces.target]
        return faces_strip(self.faces.pixels[shown], [captions[face] for face in shown])

    def _draw_inside(self, net: nn.Module) -> dict[str, Figure]:
        """Figures of the stages and the attention of a network that is not an ensemble."""
        count = len(self.faces.names)
        shown = np.linspace(0, count - 1, min(count, _SHOWN)).round().astype(int)
        faces, image = self.faces.pixels[shown], self.faces.image[shown]
        side = None if self.faces.side is None else self.faces.side[shown]
        top = self._faces_strip(shown)
        name = type(net).__name__
        stages = feature_maps(net, image, side)
        rows = [map_strip(_stage_label(stage, maps), maps, *_ends(stages, stage)) for stage, maps in stages.items()]
        figures = {
            "features": draw_strips([top, *rows], f"Stages: {name}", "mean magnitude over the channels of a stage")
        }
        attention = {} if side is not None else attention_maps(net, image)
        if attention:
            shares = _shares(attention)
            rows = [
                heat_strip(kind, faces, maps / _strongest(attention if shares else {kind: maps}), shares.get(kind, []))
                for kind, maps in attention.items()
            ]
            scale = "one scale for all rows of a face" if shares else "each picture has its own scale"
            figures["attention"] = draw_strips([top, *rows], f"Attention: {name}", f"warm: high attention; {scale}")
        return figures


def _strongest(attention: dict[str, np.ndarray]) -> np.ndarray:
    """Largest value (N, 1, 1) of each face in several maps."""
    return np.maximum(np.max([maps.max((1, 2), keepdims=True) for maps in attention.values()], axis=0), 1e-12)


def _stage_label(stage: str, maps: np.ndarray) -> str:
    size = f"{maps.shape[1]} x {maps.shape[2]}"
    return "\n".join([*textwrap.wrap(stage, 18), size])  # names of modules are long and without spaces


def _ends(stages: dict[str, np.ndarray], stage: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the shades of each face, shared by the maps before and after suppression."""
    pair = [stages[name] for name in ("before suppression", "after suppression") if name in stages]
    compared = pair if stage.endswith("suppression") else [stages[stage]]
    low, high = np.min(compared, axis=(0, 2, 3)), np.max(compared, axis=(0, 2, 3))
    return low, high


def _shares(attention: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Captions with the share of each map in attention that sums to 1 over several maps."""
    total = sum(maps.sum((1, 2)) for maps in attention.values())
    if not np.allclose(total, 1, atol=1e-3) or len(attention) < 2:
        return {}
    return {name: [f"{share:.0%}".replace("%", " %") for share in maps.sum((1, 2))] for name, maps in attention.items()}


@dataclass(frozen=True)
class Faces:
    """Faces to explain.

    Attributes:
        names: Names of the N faces.
        pixels: uint8 (N, S, S, C).
        image: Normalised images (N, C, S, S).
        side: Auxiliary inputs (N, D) of networks that take them.
        target: True class indices (N,), in the classes of the network; None where they are unknown.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    image: Tensor
    side: Tensor | None
    target: np.ndarray | None


def faces_of_split(
    datamodule: ExpressionDataModule, split: str, classes: Sequence[str], inference: Inference, count: int, seed: int
) -> Faces:
    """Faces of a split: all classes in turn, half of them predicted correctly and half wrongly where there are any.

    Args:
        datamodule: Data module after `setup`, with the preprocessing of the network.
        split: `"train"`, `"val"` or `"test"`.
        classes: Classes of the network; faces of other classes are skipped.
        inference: Inference module of the network.
        count: Number of faces.
        seed: Seed of the draw.

    Raises:
        UserError: Network and data share no class.
    """
    dataset = datamodule.dataset(split)
    index = {name: place for place, name in enumerate(classes)}
    known = np.array([index.get(name, -1) for name in datamodule.label_set.classes])
    labels = known[hard(dataset.targets).numpy()]
    of_known = np.flatnonzero(labels >= 0)
    if not len(of_known):
        raise UserError(
            f"{datamodule.dataset_name} must have a class of the net ({', '.join(classes)}); it has none of them."
        )
    rows = of_known[candidates(labels[of_known], _OF_EACH_CLASS, seed)]
    with torch.inference_mode():
        batches = [dataset.__getitems__(part.tolist()) for part in np.array_split(rows, -(-len(rows) // 128))]
        predicted = torch.cat([inference.predict_step(batch, 0)[0] for batch in batches]).argmax(1).numpy()
    rows = rows[choose_rows(labels[rows], predicted, count)]
    image, *side, _ = dataset.__getitems__(rows.tolist())
    names = tuple(map(str, datamodule.ids(split)[rows]))
    return Faces(names, dataset.pixels(rows), image, side[0] if side else None, labels[rows])


def training_background(datamodule: ExpressionDataModule, seed: int) -> Tensor:
    """Normalised random training faces (N, C, S, S), the background of SHAP."""
    dataset = datamodule.dataset("train")
    rows = np.random.default_rng(seed).permutation(len(dataset))[:_BACKGROUND]
    return dataset.__getitems__(rows.tolist())[0]


def blurred_background(image: Tensor) -> Tensor:
    """Increasingly blurred copies (12 * N, C, S, S) of images (N, C, S, S), a background without training faces."""
    width = image.shape[-1]
    size = 2 * (width // 2) - 1
    return torch.cat([gaussian_blur(image, [size, size], [share * width] * 2) for share in _BLURS])


def candidates(targets: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most `most` random rows of each class of targets (N,), class by class, so that not all rows are predicted."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(targets == index))[:most] for index in np.unique(targets)])


def choose_rows(targets: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows of class indices (N,), sorted by class.

    They alternate between classes, and within a class between correct and wrong predictions.
    """
    waiting = {}
    for place, index in enumerate(np.unique(targets)):
        right, wrong = (
            list(np.flatnonzero((targets == index) & ((predicted == index) == is_right))) for is_right in (True, False)
        )
        # Every other class begins with a wrong prediction, so that half of few faces are wrong as well.
        waiting[index] = (right, wrong) if place % 2 == 0 else (wrong, right)
    chosen: list[int] = []
    turn = 0
    while len(chosen) < count and any(first or second for first, second in waiting.values()):
        for first, second in waiting.values():
            wanted, other = (first, second) if turn % 2 == 0 else (second, first)
            if source := wanted or other:
                chosen.append(int(source.pop(0)))
        turn += 1
    chosen = chosen[:count]
    return np.array(sorted(chosen, key=lambda row: (targets[row], predicted[row] != targets[row])), np.int64)
