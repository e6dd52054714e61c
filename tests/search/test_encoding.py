from __future__ import annotations

import numpy as np
import pytest
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fer_lightning.search.encoding import Choice, Encoding, Number

NUMBERS = [
    FloatDistribution(-2.5, 7.0),
    FloatDistribution(1e-5, 1e-2, log=True),
    FloatDistribution(0.1, 0.5, step=0.05),
    IntDistribution(-3, 12),
    IntDistribution(8, 64, step=8),
    IntDistribution(1, 100, log=True),
    FloatDistribution(3.0, 3.0),
    FloatDistribution(3.0, 3.0, log=True),
    IntDistribution(5, 5),
    IntDistribution(5, 5, log=True),
]


@pytest.mark.parametrize("distribution", NUMBERS, ids=str)
def test_numbers_agree_with_optuna(distribution):
    theirs = _SearchSpaceTransform({"x": distribution}, transform_0_1=True)
    ours = Number(distribution)
    for coordinate in np.linspace(0.001, 0.999, 67):
        value = theirs.untransform(np.array([coordinate]))["x"]
        assert ours.decode(coordinate) == pytest.approx(value, rel=1e-12)
        assert type(ours.decode(coordinate)) is type(value)
        if not distribution.single():
            assert float(ours.encode(value)) == pytest.approx(theirs.transform({"x": value})[0], abs=1e-12)
    assert distribution._contains(ours.decode(0.0))
    assert distribution._contains(ours.decode(1.0))


@pytest.mark.parametrize(
    ("distribution", "value", "coordinate"),
    [
        (FloatDistribution(1e-5, 1e-1, log=True), 1e-3, 0.5),
        (FloatDistribution(-1.0, 3.0), 0.0, 0.25),
        (IntDistribution(0, 3), 0, 0.125),
        (IntDistribution(0, 3), 3, 0.875),
        (IntDistribution(8, 64, step=8), 16, 1.5 / 8),
        (FloatDistribution(0.0, 1.0, step=0.5), 0.5, 0.5),
        (IntDistribution(1, 9, log=True), 1, np.log(2) / np.log(19)),  # bins from 0.5 to 9.5
        (IntDistribution(5, 5), 5, 0.5),
    ],
)
def test_hand_computed(distribution, value, coordinate):
    number = Number(distribution)
    assert float(number.encode(value)) == pytest.approx(coordinate)
    assert number.decode(coordinate) == pytest.approx(value)


@pytest.mark.parametrize("distribution", NUMBERS, ids=str)
def test_snapping_is_trying(distribution):
    number = Number(distribution)
    coordinates = np.random.default_rng(0).random((4, 25))
    tried = [[float(number.encode(number.decode(c))) for c in row] for row in coordinates]
    np.testing.assert_allclose(number.snap(coordinates), tried, atol=1e-12)


def test_each_whole_number_is_as_likely():
    values = Number(IntDistribution(3, 6)).nearest(np.linspace(0, 1, 4001)[:-1])
    assert np.unique(values, return_counts=True)[1].tolist() == [1000] * 4


def test_between_limits_is_equation_14_on_the_scale_of_the_paper():
    shares = np.array([0.0, 0.25, 1.0])
    number = Number(FloatDistribution(1e-5, 1e-1, log=True))
    np.testing.assert_allclose([number.decode(c) for c in number.between_limits(shares)], [1e-5, 1e-4, 1e-1])
    number = Number(IntDistribution(8, 64))
    assert [number.decode(c) for c in number.between_limits(shares)] == [8, 22, 64]
    assert number.limits == (8, 64)
    assert Number(IntDistribution(5, 5)).between_limits(shares).tolist() == [0.5] * 3


def test_choices_are_indices():
    choice = Choice(CategoricalDistribution(["a", None, 3]))
    assert [float(choice.encode(value)) for value in ("a", None, 3)] == [0, 1, 2]
    assert [choice.decode(index) for index in (0.0, 1.0, 2.0)] == ["a", None, 3]
    assert choice.spread(np.array([0.0, 0.33, 0.34, 0.99, 1.0])).tolist() == [0, 0, 1, 2, 2]


SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "model": CategoricalDistribution(["a", "b", "c"]),
    "batch": IntDistribution(8, 15),
    "one": IntDistribution(1, 1),
}


def test_a_trial_and_back():
    encoding = Encoding(SPACE)
    params = {"lr": 1e-4, "model": "c", "batch": 15, "one": 1}
    point = encoding.encode(params)
    np.testing.assert_allclose(point, [0.25, 2, 15 / 16, 0.5])
    assert encoding.decode(point) == pytest.approx(params)
    assert encoding.is_choice.tolist() == [False, True, False, False]


def test_the_scale_of_the_paper():
    encoding = Encoding(SPACE)
    point = encoding.encode({"lr": 1e-4, "model": "c", "batch": 15, "one": 1})
    positions = encoding.to_paper(point)
    np.testing.assert_allclose(positions[[0, 2]], [-4, 15])
    np.testing.assert_allclose(encoding.from_paper(positions), point)
    np.testing.assert_allclose(encoding.limits[:, [0, 2]], [[-5, 8], [-1, 15]])


def test_two_choices_are_as_far_apart_as_two_ends():
    encoding = Encoding({"x": FloatDistribution(0, 1), "model": CategoricalDistribution(["a", "b", "c"])})
    a, b, c, end = encoding.spatial(np.array([[0.0, 0], [0, 1], [0, 2], [1, 0]]))
    for pair in ((a, b), (b, c), (a, end)):
        assert np.linalg.norm(pair[0] - pair[1]) == pytest.approx(1)
