"""Everything that explains what one network says of some faces."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.progress import track
from torch import Tensor, nn

from fer_lightning.explain.attention import attention_maps, fusion_shares
from fer_lightning.explain.captions import target_caption
from fer_lightning.explain.figures import Strip, draw_curves, draw_strips, faces_strip, heat_strip, map_strip, signed_strip
from fer_lightning.explain.faces import Faces
from fer_lightning.explain.faithfulness import Curves, moved, noise, trace
from fer_lightning.explain.feature_maps import feature_maps
from fer_lightning.explain.gradcam import gradcam
from fer_lightning.explain.shap_values import ShapMaps, shap_maps
from fer_lightning.explain.verdict import area_table, compare, told
from fer_lightning.models.psysfa_net import PsySFANet
from fer_lightning.models.weighted_voting import WeightedVoting

_DrawStrip = Callable[[str, np.ndarray, np.ndarray, Sequence[str]], Strip]
_SHOWN = 8  # faces in pictures of many rows


class Explanation:
    """Computes maps of two classes of each face: the predicted one, and the true one or, unlabelled, the second guess.

    Args:
        net: In evaluation mode, on the CPU.
        classes: The K class names.
        faces: N faces.
        temperature: Divides the logits, in `probabilities` and in the curves, as in prediction.

    Attributes:
        sentences: One for each kind of map, whether it beats a random map; filled by `judge`.
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

    def add_shap(self, method: str, background: Tensor, background_told: str, samples: int) -> None:
        """Computes SHAP values of both classes, see `shap_maps`.

        Args:
            method: `"gradient"` or `"partition"`.
            background: Normalised images (M, C, S, S).
            background_told: What these are.
            samples: Evaluations for each face.
        """
        against = background_told if method == "gradient" else "the blurred face"
        self.shap_note = f"{method} explainer, smoothed: red for, blue against the class; compared with {against}"
        for name, target in self.targets.items():
            index = torch.from_numpy(target)
            self.shap[name] = shap_maps(self.net, self.faces.image, index, method, background, samples, self.faces.side)

    def judge(self, steps: int, random_maps: int) -> None:
        """Traces deletion and insertion of the predicted class with each map, and with random ones.

        Args:
            steps: See `trace`.
            random_maps: How many random maps of each kind are drawn for each face.
        """
        predicted = self.targets["predicted class"]
        maps = {"Grad-CAM": self.heat["predicted class"]}
        if self.shap:
            maps["SHAP"] = self.shap["predicted class"].values
        asked = [(name, "own", 0, own) for name, own in maps.items()]
        asked += [(name, "moved", seed, moved(own, seed)) for name, own in maps.items() for seed in range(random_maps)]
        asked += [("", "noise", seed, noise(self.heat["predicted class"].shape, seed)) for seed in range(random_maps)]
        for name, kind, seed, own in track(asked, "Deletion and insertion", transient=True):
            found = trace(
                self.net,
                self.faces.image,
                torch.from_numpy(predicted),
                own,
                steps,
                seed,
                self.faces.side,
                self.temperature,
            )
            if kind == "own":
                self.curves[name] = found
            else:
                (self.noise if kind == "noise" else self.moved.setdefault(name, [])).append(found)
        areas = area_table(self.faces.names, self.curves, self.moved, self.noise)
        summary = compare(areas)
        self.judged = {"faithfulness": areas, "faithfulness_summary": summary}
        self.sentences = told(summary)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Numbers by file name without ending: `faces`, and what was asked for of `attention`, `shap`, `faithfulness`
        and `faithfulness_summary`."""
        found = {"faces": self._face_table()}
        if isinstance(self.net, PsySFANet) and self.net.fusion is not None:
            found["attention"] = self._attention_table(self.net)
        if self.shap:
            found["shap"] = self._shap_table()
        return found | self.judged

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
            (face, listener, source, own[row, column])
            for face, own in zip(self.faces.names, shares)
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
                    "base": own.base,
                    "score": own.score,
                    "sum_of_values": own.values.sum((1, 2)),
                }
            )
            for name, own in self.shap.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def draw(self) -> dict[str, Figure]:
        """Figures by file name without ending: `gradcam`, `features`, and what there is of `attention`, `shap` and
        `faithfulness`; for a vote, stages and attention of each member."""
        figures = {
            "gradcam": self._draw_classes("Grad-CAM", self.heat, heat_strip, "warm where a place speaks for the class")
        }
        members = list(self.net.members) if isinstance(self.net, WeightedVoting) else [self.net]
        for number, member in enumerate(members, start=1):
            own = f"_{number}" if len(members) > 1 else ""
            figures |= {f"{name}{own}": figure for name, figure in self._draw_inside(member).items()}
        if self.shap:
            values = {name: own.values for name, own in self.shap.items()}
            figures["shap"] = self._draw_classes("SHAP", values, signed_strip, self.shap_note)
        if self.curves:
            count = len(self.faces.names)
            figures["faithfulness"] = draw_curves(
                self.curves, self.moved, self.noise, f"Deletion and insertion, {count} face{'s' * (count > 1)}"
            )
        return figures

    def _draw_classes(self, kind: str, maps: Mapping[str, np.ndarray], strip: _DrawStrip, note: str) -> Figure:
        rows = [
            strip(name, self.faces.pixels, own, target_caption(self.probabilities, self.targets[name], self.classes))
            for name, own in maps.items()
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
        """Stages and attention of a network that is no vote."""
        count = len(self.faces.names)
        shown = np.linspace(0, count - 1, min(count, _SHOWN)).round().astype(int)
        faces, image = self.faces.pixels[shown], self.faces.image[shown]
        side = None if self.faces.side is None else self.faces.side[shown]
        top = self._faces_strip(shown)
        name = type(net).__name__
        stages = feature_maps(net, image, side)
        rows = [map_strip(_stage_label(stage, own), own, *_ends(stages, stage)) for stage, own in stages.items()]
        figures = {
            "features": draw_strips([top, *rows], f"Stages: {name}", "mean magnitude over the channels of a stage")
        }
        attention = {} if side is not None else attention_maps(net, image)
        if attention:
            shares = _shares(attention)
            rows = [
                heat_strip(kind, faces, own / _strongest(attention if shares else {kind: own}), shares.get(kind, []))
                for kind, own in attention.items()
            ]
            scale = "one scale for all rows of a face" if shares else "each picture has a scale of its own"
            figures["attention"] = draw_strips(
                [top, *rows], f"Attention: {name}", f"warm where attention goes; {scale}"
            )
        return figures


def _strongest(attention: dict[str, np.ndarray]) -> np.ndarray:
    """The largest value of each face in any of several maps, (N, 1, 1)."""
    return np.maximum(np.max([own.max((1, 2), keepdims=True) for own in attention.values()], axis=0), 1e-12)


def _stage_label(stage: str, maps: np.ndarray) -> str:
    size = f"{maps.shape[1]} x {maps.shape[2]}"
    return "\n".join([*textwrap.wrap(stage, 18), size])  # names of modules are long and have no spaces


def _ends(stages: dict[str, np.ndarray], stage: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the shades of each face end; before and after suppression they are the same, so that one sees its work."""
    pair = [stages[name] for name in ("before suppression", "after suppression") if name in stages]
    compared = pair if stage.endswith("suppression") else [stages[stage]]
    low, high = np.min(compared, axis=(0, 2, 3)), np.max(compared, axis=(0, 2, 3))
    return low, high


def _shares(attention: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Captions of attention that is shared between several maps: what each of them gets."""
    total = sum(own.sum((1, 2)) for own in attention.values())
    if not np.allclose(total, 1, atol=1e-3) or len(attention) < 2:
        return {}
    return {name: [f"{share:.0%}".replace("%", " %") for share in own.sum((1, 2))] for name, own in attention.items()}
