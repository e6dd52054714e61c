from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from fer_lightning.explain.explanation import Explanation, Faces
from fer_lightning.explain.faithfulness import Curves, area, area_table, compare, moved, noise, trace, verdicts
from fer_lightning.models.resnet import ResNet


class Looks(nn.Module):
    """Class 1 is as likely as the centre of the picture is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(20, 20))
        with torch.no_grad():
            self.weight[8:12, 8:12] = 0.5

    def forward(self, image: Tensor) -> Tensor:
        score = (image[:, 0] * self.weight).sum((1, 2))
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def image() -> Tensor:
    """Bright where the net looks, which a blur spreads."""
    torch.manual_seed(0)
    dark = 0.2 * torch.rand(2, 1, 20, 20)
    dark[..., 8:12, 8:12] += 0.8
    return dark


@pytest.mark.parametrize("score", ["deletion", "insertion"])
def test_curves_and_areas_are_those_of_a_literal_loop(image, score):
    net = Looks()
    maps = np.random.default_rng(0).random((2, 20, 20))
    steps = 8
    found = getattr(trace(net, image, torch.tensor([1, 0]), maps, steps, seed=0), score)

    sigma = 2.0
    size = 2 * round(2 * sigma) + 1
    for row, target in enumerate((1, 0)):
        order = sorted((-maps[row, y, x], y, x) for y in range(20) for x in range(20))
        changed = image[row].clone() if score == "deletion" else gaussian_blur(image[row], [size, size], [sigma, sigma])
        end = torch.zeros_like(changed) if score == "deletion" else image[row]
        curve = [net(changed[None]).softmax(1)[0, target].item()]
        for step in range(steps):
            for _, y, x in order[50 * step : 50 * (step + 1)]:
                changed[0, y, x] = end[0, y, x]
            curve.append(net(changed[None]).softmax(1)[0, target].item())
        np.testing.assert_allclose(found[row], curve, atol=1e-5)
        literal = sum((first + second) / 2 / steps for first, second in pairwise(curve))
        np.testing.assert_allclose(area(found)[row], literal, atol=1e-6)


def test_the_right_map_beats_the_same_map_elsewhere(image):
    net, target = Looks(), torch.tensor([1, 1])
    right = np.zeros((2, 20, 20))
    right[:, 8:12, 8:12] = 1
    own, other = (trace(net, image, target, maps, 10, seed=0) for maps in (right, moved(right, seed=3)))
    assert (area(own.deletion) < area(other.deletion)).all()
    assert (area(own.insertion) > area(other.insertion)).all()


def test_equally_important_pixels_come_in_random_order(image):
    flat = np.zeros((2, 20, 20))
    first, second = (trace(Looks(), image, torch.tensor([1, 1]), flat, 10, seed=seed).deletion for seed in (0, 1))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, trace(Looks(), image, torch.tensor([1, 1]), flat, 10, seed=0).deletion)


def test_a_moved_map_keeps_its_values_and_loses_its_place():
    maps = np.random.default_rng(0).random((3, 10, 12))
    found = moved(maps, seed=0)
    assert found.shape == maps.shape
    for own, other in zip(maps, found):
        np.testing.assert_array_equal(np.sort(own.ravel()), np.sort(other.ravel()))
        assert not np.array_equal(own, other)
    np.testing.assert_array_equal(found, moved(maps, seed=0))
    assert not np.array_equal(found, moved(maps, seed=1))


def test_noise_depends_on_its_seed_alone():
    assert np.array_equal(noise((2, 3, 3), 1), noise((2, 3, 3), 1))
    assert not np.array_equal(noise((2, 3, 3), 1), noise((2, 3, 3), 2))


def test_side_vectors_are_repeated_for_every_step(image):
    class WithSide(Looks):
        def forward(self, image: Tensor, side: Tensor) -> Tensor:
            return super().forward(image) * side

    side = torch.tensor([[1.0], [0.0]])
    found = trace(WithSide(), image, torch.tensor([1, 1]), np.random.default_rng(0).random((2, 20, 20)), 5, 0, side)
    assert found.deletion[0].std() > 0.01
    np.testing.assert_allclose(found.deletion[1], 0.5)


def test_curves_start_at_the_probability_that_is_predicted():
    torch.manual_seed(0)
    net = ResNet(num_classes=3, in_channels=1, widths=[8, 8, 8, 8], depths=[1, 1, 1, 1], stem_stride=2, dropout=0.0)
    image = torch.randn(2, 1, 32, 32)
    faces = Faces(("a", "b"), np.zeros((2, 32, 32, 1), np.uint8), image, None, None)
    explanation = Explanation(net.eval(), ("happy", "sad", "surprise"), faces, temperature=3.0)
    explanation.judge(steps=2, random_maps=1)
    for curves in (explanation.curves["Grad-CAM"], *explanation.moved["Grad-CAM"], *explanation.noise):
        np.testing.assert_allclose(curves.deletion[:, 0], explanation.probabilities.max(1), atol=1e-5)
        np.testing.assert_allclose(curves.insertion[:, -1], explanation.probabilities.max(1), atol=1e-5)


def flat(deletion: np.ndarray, insertion: np.ndarray) -> Curves:
    """Curves that keep one height, which is their area."""
    return Curves(*(np.repeat(values[:, None], 5, axis=1) for values in (deletion, insertion)))


@pytest.fixture
def areas():
    rng = np.random.default_rng(0)
    base = rng.random(12) / 2 + 0.2
    good = flat(base - 0.1 - rng.random(12) / 20, base + 0.1)
    copies = [flat(base - 0.02, base), flat(base + 0.02, base)]
    return area_table(
        [f"face {n}" for n in range(12)],
        {"Good": good, "None": flat(base, base)},
        {"Good": copies, "None": copies},
        [flat(base * 0, base * 0 + 1)],
    )


def test_areas_of_random_maps_are_means_over_seeds(areas):
    own = areas[(areas["map"] == "Good") & (areas["score"] == "deletion")]
    none = areas[(areas["map"] == "None") & (areas["score"] == "deletion")]
    assert len(areas) == 12 * 2 * 2
    np.testing.assert_allclose(own["area_moved"], none["area"])
    assert (own["area_noise"] == 0).all()


def test_the_comparison_is_paired_by_face(areas):
    row = compare(areas).query("map == 'Good' and score == 'deletion' and random == 'moved'").iloc[0]
    own = areas[(areas["map"] == "Good") & (areas["score"] == "deletion")]
    difference = own["area"] - own["area_moved"]
    assert row["n"] == 12
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["low"] < difference.mean() < row["high"] < 0
    assert row["p"] == pytest.approx(stats.wilcoxon(difference).pvalue)


def test_sentences_say_what_the_intervals_say(areas):
    good, none = verdicts(compare(areas))
    assert good.startswith(
        "Good beats the same map at random places in deletion and insertion over 12 faces: deletion "
    )
    assert none.startswith("None does not beat the same map at random places")


def test_few_faces_tell_nothing(areas):
    few = areas[areas["face"].isin(["face 0", "face 1"])]
    assert "2 faces are too few to tell" in verdicts(compare(few))[0]
