"""Faithfulness of explanation maps: deletion and insertion, compared with random maps.

Paper: V. Petsiuk et al., RISE: randomized input sampling for explanation of black-box models (2018), section 4.3,
https://arxiv.org/abs/1806.07421.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.integrate import trapezoid
from scipy.stats import wilcoxon
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from fer_lightning.results.significance import bootstrap_difference

_BATCH = 256
_BLUR = 1 / 10  # standard deviation as a share of the image size, which removes the expression
SCORES = ("deletion", "insertion")
_FEWEST = 6  # with fewer faces, no Wilcoxon test can reach p < 0.05


@dataclass(frozen=True)
class Curves:
    """Probability of a class while pixels are deleted or inserted, the most important ones of a map first.

    Attributes:
        deletion: (N, steps + 1), from the whole picture to plain grey. A good map makes it fall early.
        insertion: (N, steps + 1), from the blurred picture to the whole one. A good map makes it rise early.
    """

    deletion: np.ndarray
    insertion: np.ndarray


def trace(
    net: nn.Module,
    image: Tensor,
    target: Tensor,
    maps: np.ndarray,
    steps: int,
    seed: int,
    side: Tensor | None = None,
    temperature: float = 1.0,
) -> Curves:
    """Curves of deletion and insertion of the pixels of images in the order of their maps.

    Args:
        net: Network in evaluation mode.
        image: Normalised images (N, C, H, W).
        target: Class indices (N,) whose probability is traced.
        maps: Importance of each pixel (N, H, W).
        steps: Number of equal parts of the pixels.
        seed: Seed of the order of pixels that are equally important.
        side: Auxiliary inputs (N, S) of networks that take them.
        temperature: Temperature of the logits, as in prediction.

    Readings:
        - A deleted pixel has the value 0 after normalisation, the mean grey of the training images.
        - Insertion starts from a Gaussian blur of a tenth of the image size. The paper blurs 224 pixels so that little
          of an object is left; a face of 48 pixels needs a stronger blur.
    """
    rng = np.random.default_rng(seed)
    size = 2 * round(2 * _BLUR * image.shape[-1]) + 1
    blurred = gaussian_blur(image, [size, size], [_BLUR * image.shape[-1]] * 2)
    deletion, insertion = [], []
    for row, importance in enumerate(maps):
        taken = torch.from_numpy(_taken(importance, steps, rng)).to(image.device)[:, None]
        whole, start = image[row : row + 1], blurred[row : row + 1]
        modified = torch.cat([torch.where(taken, torch.zeros_like(whole), whole), torch.where(taken, whole, start)])
        auxiliary = None if side is None else side[row : row + 1]
        probability = _probability(net, modified, int(target[row]), auxiliary, temperature)
        deletion.append(probability[: steps + 1])
        insertion.append(probability[steps + 1 :])
    return Curves(np.stack(deletion), np.stack(insertion))


def area(curve: np.ndarray) -> np.ndarray:
    """Area below curves (..., steps + 1) over the share of pixels from 0 to 1, by the trapezoidal rule: (...)."""
    return trapezoid(curve, dx=1 / (curve.shape[-1] - 1), axis=-1)


def moved(maps: np.ndarray, seed: int) -> np.ndarray:
    """Maps (N, H, W) at random places: each is randomly mirrored and rolled around the edges."""
    rng = np.random.default_rng(seed)
    height, width = maps.shape[1:]
    return np.stack(
        [
            np.roll(one[:, :: rng.choice([-1, 1])], (rng.integers(height), rng.integers(width)), axis=(0, 1))
            for one in maps
        ]
    )


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random maps with independent pixels, uniform in 0..1."""
    return np.random.default_rng(seed).random(shape)


def _taken(importance: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Mask of the pixels that are taken at each step, bool (steps + 1, H, W), from none to all."""
    drawn = rng.permutation(importance.size)
    order = drawn[np.argsort(-importance.ravel()[drawn], kind="stable")]
    rank = np.empty(importance.size, np.int64)
    rank[order] = np.arange(importance.size)
    counts = np.linspace(0, importance.size, steps + 1).round().astype(int)
    return (rank < counts[:, None]).reshape(steps + 1, *importance.shape)


@torch.inference_mode()
def _probability(net: nn.Module, images: Tensor, target: int, side: Tensor | None, temperature: float) -> np.ndarray:
    probabilities = []
    for part in images.split(_BATCH):
        logits = net(part) if side is None else net(part, side.expand(len(part), -1))
        probabilities.append((logits.float() / temperature).softmax(1)[:, target])
    return torch.cat(probabilities).cpu().numpy()


def area_table(
    faces: Sequence[str],
    curves: Mapping[str, Curves],
    moved: Mapping[str, Sequence[Curves]],
    noise: Sequence[Curves],
) -> pd.DataFrame:
    """Areas below the curves of each face.

    Args:
        faces: Names of the N faces.
        curves: Curves of the maps, by name of the map.
        moved: Curves of copies of each map at random places, one per seed.
        noise: Curves of maps of noise, one per seed.

    Returns:
        One row per face, map and score: the columns `face`, `map`, `score` (`deletion` or `insertion`), `area`,
        `area_moved` and `area_noise`; the last two are means over the seeds.
    """
    rows = []
    for name, curve in curves.items():
        for score in SCORES:
            areas = zip(faces, _areas([curve], score), _areas(moved[name], score), _areas(noise, score))
            rows += [(face, name, score, *values) for face, *values in areas]
    return pd.DataFrame(rows, columns=["face", "map", "score", "area", "area_moved", "area_noise"])


def _areas(curves: Sequence[Curves], score: str) -> np.ndarray:
    return np.mean([area(getattr(curve, score)) for curve in curves], axis=0)


def compare(areas: pd.DataFrame) -> pd.DataFrame:
    """Mean areas over the faces, and the difference to random maps, paired by face.

    Args:
        areas: Table of `area_table`.

    Returns:
        One row per map, score and kind of `random` map (`moved` or `noise`): the columns `map`, `score`, `random`, `n`,
        `area`, `area_random`, `difference` (map minus random), its 95 % bootstrap interval `low`, `high` over faces
        (see `bootstrap_difference`) and `p` of the two-sided Wilcoxon signed-rank test.
    """
    rows = []
    for (name, score), table in areas.groupby(["map", "score"], sort=False):
        for random in ("moved", "noise"):
            first, second = table["area"].to_numpy(), table[f"area_{random}"].to_numpy()
            low, high = bootstrap_difference(first, second)
            p = float(wilcoxon(first, second).pvalue) if (first != second).any() else 1.0
            rows.append(
                (name, score, random, len(table), first.mean(), second.mean(), (first - second).mean(), low, high, p)
            )
    columns = ["map", "score", "random", "n", "area", "area_random", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=columns)


def verdicts(comparison: pd.DataFrame) -> list[str]:
    """One sentence per map of `compare`: whether it beats the same map at random places, and the area of noise."""
    return [_sentence(str(name), table) for name, table in comparison.groupby("map", sort=False)]


def _sentence(name: str, table: pd.DataFrame) -> str:
    moved, noise = (table[table["random"] == random].set_index("score") for random in ("moved", "noise"))
    faces = int(table["n"].iloc[0])
    if faces < _FEWEST:
        areas = ", ".join(f"{score} {row.area:.3f} against {row.area_random:.3f}" for score, row in moved.iterrows())
        few = "one face is" if faces == 1 else f"{faces} faces are"
        return f"{name}: {few} too few to tell whether it beats the same map at random places ({areas})."
    better = [score for score in SCORES if _better(score, moved.loc[score])]
    verdict = "beats" if better else "does not beat"
    where = {0: "", 1: f" in {' and '.join(better)} only", 2: " in deletion and insertion"}[len(better)]
    numbers = "; ".join(
        f"{score} {row.area:.3f} against {row.area_random:.3f} (difference {row.difference:+.3f}, 95 % interval "
        f"{row.low:+.3f} to {row.high:+.3f}, p = {row.p:.2g}; noise: {noise.loc[score, 'area_random']:.3f})"
        for score, row in moved.iterrows()
    )
    return f"{name} {verdict} the same map at random places{where} over {faces} faces: {numbers}."


def _better(score: str, row: pd.Series) -> bool:
    """Whether the whole interval is an improvement: smaller areas for deletion, larger ones for insertion."""
    return bool(row["high"] < 0 if score == "deletion" else row["low"] > 0)
