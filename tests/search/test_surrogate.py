from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from fer_lightning.search import surrogate
from fer_lightning.search.surrogate import GaussianProcess, Surrogate, choose_improvements, choose_moves

ODD = [
    [1.0] * 6,
    [np.inf] * 6,
    [-np.inf] * 6,
    [np.inf] * 5 + [0.0],
    [-np.inf, np.inf, 0, 1, 2, 3],
    [1e308, -1e308] * 3,
]


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

    @pytest.mark.parametrize("values", ODD)
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


def process_of(points: np.ndarray, values: np.ndarray) -> GaussianProcess:
    return GaussianProcess(points, values, np.arange(points.shape[1]))


class TestGaussianProcess:
    def test_predictions_are_those_of_scikit_learn(self, rng):
        """At the length scales and the noise that were fitted."""
        points, asked = rng.random((30, 3)), rng.random((9, 3))
        values = (points**2).sum(axis=1) + 0.01 * rng.standard_normal(30)
        process = process_of(points, values)
        tamed = np.minimum(values, 2 * np.median(values) - values.min())
        kernel = Matern(process._lengths, nu=2.5)
        theirs = GaussianProcessRegressor(kernel, alpha=process.noise + 1e-6, optimizer=None)
        theirs.fit(points, (tamed - tamed.mean()) / tamed.std())
        mean, deviation = theirs.predict(asked, return_std=True)
        predicted, factors = process(asked)
        np.testing.assert_allclose(predicted, mean, atol=1e-8)
        np.testing.assert_allclose(1 - (factors**2).sum(axis=0), deviation**2, atol=1e-8)
        assert process.best == pytest.approx(theirs.predict(points).min())

    def test_the_fit_is_the_mode(self, rng, monkeypatch):
        """No small change of a length scale or of the noise is more probable."""
        monkeypatch.setattr(surrogate, "_EVALUATIONS", 1000)
        points = rng.random((20, 2))
        values = points[:, 0] ** 2 + 0.1 * rng.standard_normal(20)
        values = (values - values.mean()) / values.std()
        lengths, noise = surrogate._fit(points, values, np.arange(2))
        fitted = np.log([*lengths, noise])

        def density(logs):
            kernel = Matern(np.exp(logs[:2]), nu=2.5)
            covariance = kernel(points) + (np.exp(logs[2]) + 1e-6) * np.eye(20)
            scale = values @ np.linalg.solve(covariance, values) / 20
            prior = norm.logpdf(logs[:2], np.log(np.sqrt(2) / 2), 1).sum() + norm.logpdf(logs[2], -4, 2)
            return prior - 0.5 * np.linalg.slogdet(covariance)[1] - 10 * np.log(scale)

        for step in 0.05 * np.concatenate([np.eye(3), -np.eye(3)]):
            assert density(fitted + step) < density(fitted)

    def test_a_parameter_that_does_not_matter_has_a_long_scale(self, rng):
        points = rng.random((40, 2))
        lengths, _ = surrogate._fit(points, np.sin(6 * points[:, 0]), np.arange(2))
        assert lengths[1] > 5 * lengths[0]

    def test_the_columns_of_a_choice_share_a_scale(self, rng):
        process = GaussianProcess(rng.random((20, 4)), rng.random(20), np.array([0, 1, 1, 1]))
        assert len(set(process._lengths[1:])) == 1
        assert process._lengths[0] != process._lengths[1]

    def test_a_diverged_trial_changes_nothing(self, rng):
        points, asked = rng.random((30, 2)), rng.random((9, 2))
        values = np.abs(points - 0.5).sum(axis=1)
        worst = np.argmax(values)
        values[worst] = 2.0
        expected = process_of(points, values)(asked)[0]
        values[worst] = 1e30
        np.testing.assert_allclose(process_of(points, values)(asked)[0], expected)

    @pytest.mark.parametrize("values", ODD)
    def test_odd_values(self, rng, values):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            process = process_of(rng.random((6, 2)), np.array(values))
            picked = choose_improvements(process, rng.random((3, 4, 2)), np.empty((0, 2)))
        assert picked.shape == (3,)

    @pytest.mark.parametrize("count", [1, 2])
    def test_few_trials(self, rng, count):
        predicted, _ = process_of(rng.random((count, 5)), np.arange(count, dtype=float))(rng.random((4, 5)))
        assert np.isfinite(predicted).all()

    def test_points_next_to_each_other(self, rng):
        points = 0.5 + 1e-13 * rng.random((20, 2))
        assert np.isfinite(process_of(points, rng.random(20))(rng.random((4, 2)))[0]).all()


class TestChooseImprovements:
    def test_as_printed(self, rng):
        """Against a loop that repeats each prediction with the selected moves as trials at their predicted values."""
        points, moves = rng.random((12, 2)), rng.random((4, 15, 2))
        process = process_of(points, ((points - 0.4) ** 2).sum(axis=1) + 0.05 * rng.standard_normal(12))
        mean = process(moves.reshape(-1, 2))[0].reshape(4, 15)
        known, best, expected = points, process.best, []
        for i in range(4):
            inside = process.covariance(known, known) + (process.noise + 1e-6) * np.eye(len(known))
            across = process.covariance(known, moves[i])
            variance = 1 - (across * np.linalg.solve(inside, across)).sum(axis=0)
            deviation = np.sqrt(process.scale * variance)
            u = (best - mean[i]) / deviation
            expected.append(int(np.argmax(deviation * (norm.pdf(u) + u * norm.cdf(u)))))
            known = np.concatenate([known, moves[i, expected[-1]][None]])
            best = min(best, mean[i, expected[-1]])
        assert choose_improvements(process, moves, points).tolist() == expected

    def test_the_logarithm(self):
        gain = np.array([-8.0, -1.0, 0.0, 1.0, 20.0])
        expected = np.log(2 * (norm.pdf(gain / 2) + gain / 2 * norm.cdf(gain / 2)))
        differences = surrogate._log_improvement(gain, np.full(5, 2.0)) - expected
        np.testing.assert_allclose(differences, np.log(np.sqrt(2 * np.pi)), rtol=1e-6)

    def test_far_from_any_improvement(self):
        """Less hopeless is better, without overflow."""
        scores = surrogate._log_improvement(np.array([-900.0, -100.0, -40.0, 50.0, 1e9]), np.ones(5))
        assert np.isfinite(scores).all()
        assert (np.diff(scores[:4]) > 0).all()

    def test_what_was_tried_is_left(self, rng):
        points = rng.random((8, 2))
        process = process_of(points, points[:, 0])
        moves = np.broadcast_to(np.concatenate([points, [[0.9, 0.9], [0.99, 0.1]]]), (3, 10, 2))
        picked = choose_improvements(process, moves, points).tolist()
        assert set(picked[:2]) == {8, 9}
        assert picked[2] in range(10)


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
