"""Each equation against numbers worked out by hand and against a loop over its printed form."""

from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.search import moves


@pytest.fixture
def rng():
    return np.random.default_rng(5)


class TestInitial:
    def test_by_hand(self):
        np.testing.assert_allclose(moves.initial(8, 64, np.array([0, 0.5, 1])), [8, 36, 64])


class TestBetter:
    def test_by_hand(self):
        prey = moves.better(np.array([3.0, 1.0, 3.0, 2.0]))
        assert [np.flatnonzero(row).tolist() for row in prey] == [[1, 3], [], [1, 3], [1]]

    def test_the_missing_and_the_infinite(self):
        prey = moves.better(np.array([np.inf, np.nan, 0.0, -np.inf, np.inf]))
        assert [np.flatnonzero(row).tolist() for row in prey] == [[2, 3], [], [3], [], [2, 3]]

    def test_as_printed(self, rng):
        values = rng.integers(0, 4, 9).astype(float)
        prey = moves.better(values)
        for i in range(9):
            assert set(np.flatnonzero(prey[i])) == {k for k in range(9) if values[k] < values[i] and k != i}


class TestChoosePrey:
    def test_by_hand(self):
        prey = moves.better(np.array([0.0, 3.0, 1.0, 2.0]))
        keys = np.array([0.1, 0.3, 0.9, 0.2])
        chosen = moves.choose_prey(prey, np.broadcast_to(keys, (4, 1, 4)), 2)
        assert chosen[:, 0].tolist() == [[0, 0], [0, 3], [0, 2], [0, 2]]

    def test_more_than_there_are_bobcats(self):
        prey = moves.better(np.array([0.0, 1.0]))
        assert moves.choose_prey(prey, np.zeros((2, 1, 2)), 4).tolist() == [[[0, 0, 0, 0]], [[0, 1, 1, 1]]]

    def test_without_replacement_and_each_as_often(self, rng):
        prey = moves.better(np.array([5.0, 1.0, 2.0, 3.0, 9.0]))
        chosen = moves.choose_prey(prey, rng.random((5, 3000, 5)), 2)[0]
        assert (chosen[:, 0] != chosen[:, 1]).all()
        counts = np.bincount(chosen.reshape(-1), minlength=5)
        assert counts[[0, 4]].tolist() == [0, 0]
        np.testing.assert_allclose(counts[1:4] / 6000, 1 / 3, atol=0.03)


class TestExplorationWeight:
    @pytest.mark.parametrize(
        ("schedule", "weights"),
        [
            ("inverse", [1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6]),
            ("linear", [1, 0.75, 0.5, 0.25, 0.25]),
            ("constant", [1] * 5),
        ],
    )
    def test_by_hand(self, schedule, weights):
        assert [moves.exploration_weight(schedule, t, 4) for t in range(1, 6)] == weights


class TestTrack:
    def test_one_prey_for_all_terms_by_hand(self):
        x, prey = np.array([[10.0, -1.0]]), np.array([[[20.0, 1.0]]])
        gamma = np.array([[[0.5], [0.25], [0.0]]])
        # 10 + 1/2 * (0.5 + 0.25 + 0) * 10 and -1 + 1/2 * 0.75 * 2
        np.testing.assert_allclose(moves.track(x, prey, gamma, 0.5), [[13.75, -0.25]])

    def test_three_prey_by_hand(self):
        x, prey = np.array([0.0, 1.0]), np.array([[1.0, 1.0], [2.0, 0.0], [-4.0, 3.0]])
        gamma = np.array([[1.0, 0.5], [0.5, 0.25], [0.25, 1.0]])
        # 0 + 1 + 1 - 1 and 1 + 0 - 0.25 + 2
        np.testing.assert_allclose(moves.track(x, prey, gamma, 1.0), [1.0, 2.75])

    @pytest.mark.parametrize("terms", [1, 4])
    @pytest.mark.parametrize("columns", [1, 3])
    def test_as_printed(self, rng, terms, columns):
        x, prey, gamma = rng.normal(size=(5, 3)), rng.normal(size=(5, terms, 3)), rng.random((5, 4, columns))
        moved = moves.track(x, prey, gamma, 0.3)
        for i in range(5):
            for j in range(3):
                total = 0.0
                for k in range(4):
                    total += gamma[i, k, j % columns] * (prey[i, k % terms, j] - x[i, j])
                assert moved[i, j] == pytest.approx(x[i, j] + 0.3 * total)


class TestChase:
    def test_along_itself_by_hand(self):
        x = np.array([[8.0, -4.0, 0.0]])
        np.testing.assert_allclose(moves.chase(x, np.array([[0.25]]), 1, x), [[10.0, -5.0, 0.0]])

    def test_along_the_range_by_hand(self):
        # (1 - 2 * 0.75) / (1 + 4) = -0.1
        np.testing.assert_allclose(moves.chase(np.array([0.5, 0.2]), np.array([0.75, 0.5]), 4, 1.0), [0.4, 0.2])

    def test_as_printed(self, rng):
        x, r = rng.normal(size=(5, 3)), rng.random((5, 1))
        moved = moves.chase(x, r, 7, x)
        for i in range(5):
            for j in range(3):
                assert moved[i, j] == pytest.approx(x[i, j] + (1 - 2 * r[i, 0]) * (1 / (1 + 7)) * x[i, j])


class TestTrackOfBOA:
    def test_by_hand(self):
        moved = moves.track_of_boa(
            np.array([10.0, 10.0]), np.array([20.0, 20.0]), np.array([0.25, 1.0]), np.array([1, 2])
        )
        np.testing.assert_allclose(moved, [15.0, 10.0])

    def test_as_printed(self, rng):
        x, prey, r = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.random((4, 3))
        intensity = rng.integers(1, 3, (4, 3))
        moved = moves.track_of_boa(x, prey, r, intensity)
        for i in range(4):
            for j in range(3):
                expected = x[i, j] + (1 - 2 * r[i, j]) * (prey[i, j] - intensity[i, j] * x[i, j])
                assert moved[i, j] == pytest.approx(expected)


class TestAccept:
    def test_by_hand(self):
        values, individuals = np.array([3.0, 1.0, 2.0, 1.0, 2.0, 5.0]), np.array([0, 1, 0, 1, 0, 3])
        assert moves.accept(values, individuals, 4).tolist() == [4, 3, -1, 5]

    def test_nothing_yet(self):
        assert moves.accept(np.array([]), np.array([], dtype=int), 2).tolist() == [-1, -1]

    def test_as_printed(self, rng):
        values, individuals = rng.integers(0, 5, 60).astype(float), np.arange(60) % 7
        position, objective = [-1] * 7, [np.inf] * 7
        for k in range(60):
            if values[k] <= objective[individuals[k]]:
                position[individuals[k]], objective[individuals[k]] = k, values[k]
        assert moves.accept(values, individuals, 7).tolist() == position
