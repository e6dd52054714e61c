from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from fer_lightning.search import surrogate
from fer_lightning.search.surrogate import Surrogate, choose_moves


@pytest.fixture
def rng():
    return np.random.default_rng(3)


class TestSurrogate:
    def test_is_scipys_interpolant(self, rng):
        points, asked = rng.random((40, 3)), rng.random((9, 3))
        values = (points**2).sum(axis=1)
        tamed = np.minimum(values, np.median(values))
        expected = RBFInterpolator(points, tamed, kernel="cubic", degree=1)(asked)
        np.testing.assert_allclose(Surrogate(points, values)(asked), expected, rtol=1e-6, atol=1e-9)

    def test_the_tail_is_linear(self):
        points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        predicted = Surrogate(points, np.array([0.0, -2.0, -1.0]))(np.array([[0.5, 0.5], [1.0, 1.0]]))
        # -1 is the median: the values become -1, -2 and -1, the plane -1 - x.
        np.testing.assert_allclose(predicted, [-1.0 - 0.5 + 0.0, -2.0], atol=1e-9)

    def test_a_diverged_trial_changes_nothing(self, rng):
        points, asked = rng.random((30, 2)), rng.random((9, 2))
        values = np.abs(points - 0.5).sum(axis=1)
        worst = np.argmax(values)
        expected = Surrogate(points, values)(asked)
        for diverged in (1e30, np.inf):
            values[worst] = diverged
            np.testing.assert_allclose(Surrogate(points, values)(asked), expected, atol=1e-9)

    def test_directions_without_difference(self, rng):
        line = rng.random((8, 1))
        points = np.concatenate([line, np.full((8, 1), 0.3), 1 - line], axis=1)
        predicted = Surrogate(points, line[:, 0])(points)
        np.testing.assert_allclose(predicted, np.minimum(line[:, 0], np.median(line)), atol=1e-6)

    def test_the_same_point_twice_is_its_mean(self):
        points = np.array([[0.0], [0.0], [1.0], [0.5], [0.7]])
        predicted = Surrogate(points, np.array([1.0, 3.0, 9.0, 5.0, 9.0]))(np.array([[0.0], [0.5]]))
        np.testing.assert_allclose(predicted, [2.0, 5.0], atol=1e-9)

    @pytest.mark.parametrize(
        "values",
        [
            [1.0] * 6,
            [np.inf] * 6,
            [-np.inf] * 6,
            [np.inf] * 5 + [0.0],
            [-np.inf, np.inf, 0, 1, 2, 3],
            [1e308, -1e308] * 3,
        ],
    )
    def test_odd_values(self, rng, values):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predicted = Surrogate(rng.random((6, 2)), np.array(values))(rng.random((4, 2)))
        assert np.isfinite(predicted).all()

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_few_trials(self, rng, count):
        predicted = Surrogate(rng.random((count, 5)), np.arange(count, dtype=float))(rng.random((4, 5)))
        assert np.isfinite(predicted).all()

    def test_points_next_to_each_other(self, rng):
        points = 0.5 + 1e-13 * rng.random((20, 2))
        points[0] = 0
        assert np.isfinite(Surrogate(points, rng.random(20))(rng.random((4, 2)))).all()

    def test_many_trials_are_the_best_and_the_latest(self, rng, monkeypatch):
        monkeypatch.setattr(surrogate, "MODEL_POINTS", 4)
        values = np.array([0.0, 9, 8, 1, 7, 6, 5])
        assert surrogate._kept(values).tolist() == [0, 3, 5, 6]
        assert surrogate._kept(np.array([5.0, 4, 3, 2, 1, 0])).tolist() == [2, 3, 4, 5]
        monkeypatch.undo()
        assert len(surrogate._kept(rng.random(1200))) == surrogate.MODEL_POINTS


class TestChooseMoves:
    def test_as_printed(self, rng):
        """Against a loop over the score of Regis and Shoemaker."""
        moves, predicted, tried = rng.random((6, 7, 2)), rng.random((6, 7)), rng.random((10, 2))
        known, expected = list(tried), []
        for i in range(6):
            weight = (0.3, 0.5, 0.8, 0.95)[(3 + i) % 4]
            value = predicted[i]
            distance = np.array([min(np.linalg.norm(move - point) for point in known) for move in moves[i]])
            value_score = (value - value.min()) / (value.max() - value.min())
            distance_score = (distance.max() - distance) / (distance.max() - distance.min())
            expected.append(int(np.argmin(weight * value_score + (1 - weight) * distance_score)))
            known.append(moves[i, expected[-1]])
        assert choose_moves(moves, predicted, tried, 3).tolist() == expected

    def test_bobcats_do_not_all_go_to_one_place(self, rng):
        moves = np.broadcast_to(rng.random((1, 30, 2)), (8, 30, 2))
        picked = choose_moves(moves, np.broadcast_to(rng.random((1, 30)), (8, 30)), rng.random((5, 2)), 0)
        assert len(set(picked.tolist())) == 8

    def test_what_was_tried_is_left(self):
        moves = np.array([[[0.0], [0.5], [0.9]]])
        tried = np.array([[0.0], [0.9]])
        assert choose_moves(moves, np.array([[0.0, 9.0, 1.0]]), tried, 3).tolist() == [1]
        everything = np.array([[0.0], [0.5], [0.9]])
        assert choose_moves(moves, np.array([[4.0, 3.0, 2.0]]), everything, 0).tolist() == [2]
