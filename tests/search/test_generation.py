from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fer_lightning.search import generation
from fer_lightning.search.encoding import Encoding, dimension_of
from fer_lightning.search.generation import VARIANTS, Log, Rules, _redraw, _refine, plan, scatter

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-2, log=True),
    "batch": IntDistribution(8, 64),
    "dropout": FloatDistribution(0.1, 0.5),
}
BOUNDS = np.array([[-5, 8, 0.1], [-2, 64, 0.5]])


def rules_of(variant: str, **changes: object) -> Rules:
    return replace(Rules(variant, 5, 3, "dimension", "inverse", 30, None), **changes)


def log_of(encoding: Encoding, values: list[float], seed: int = 0) -> Log:
    """One completed trial of each bobcat, NaN for one that failed."""
    rng = np.random.default_rng(seed)
    points = encoding.snap(np.where(encoding.is_choice, 0.0, rng.random((len(values), len(encoding.names)))))
    done = ~np.isnan(values)
    return Log(points[done], np.array(values)[done], np.flatnonzero(done), points[~done])


def on_paper(params: dict) -> np.ndarray:
    return np.array([np.log10(params["lr"]), params["batch"], params["dropout"]])


class TestScatter:
    @pytest.mark.parametrize("variant", ["paper", "scent", "surrogate"])
    @pytest.mark.parametrize(
        "distribution", [FloatDistribution(-1, 3), IntDistribution(0, 4), FloatDistribution(1, 100, log=True)]
    )
    def test_a_bobcat_in_each_stratum(self, variant, distribution):
        column = scatter(rules_of(variant), 1, 0, "x", dimension_of(distribution))
        assert sorted(np.floor(column * 5)) == [0, 1, 2, 3, 4]

    def test_each_choice_as_often(self):
        distribution = CategoricalDistribution(["a", "b", "c"])
        column = scatter(rules_of("paper", population=6), 1, 0, "x", dimension_of(distribution))
        assert np.bincount(column.astype(int)).tolist() == [2, 2, 2]

    @pytest.mark.parametrize("variant", ["boa", "literal"])
    def test_equation_14(self, variant):
        column = scatter(rules_of(variant, population=4000), 1, 0, "x", dimension_of(IntDistribution(0, 4)))
        shares = column * 5 - 0.5  # 0 to 4 between the limits, where bins go from -0.5 to 4.5
        assert 0 <= shares.min() < 0.01
        assert 3.99 < shares.max() <= 4
        np.testing.assert_allclose(np.histogram(shares, 4, (0, 4))[0] / 4000, 0.25, atol=0.03)

    def test_parameters_seeds_and_generations_differ(self):
        dimension = dimension_of(FloatDistribution(0, 1))
        drawn = [
            scatter(rules_of("paper"), seed, generation, name, dimension).tolist()
            for seed in (0, 1)
            for generation in (0, 1)
            for name in ("x", "y")
        ]
        assert len({tuple(column) for column in drawn}) == 8


class TestAsPrinted:
    """Loops over the printed equations with the random numbers that the plan draws."""

    VALUES = (4.0, 1.0, 3.0, 2.0, 5.0)

    @pytest.mark.parametrize("generation", [3, 4])
    def test_literal(self, generation):
        encoding = Encoding(SPACE)
        log = log_of(encoding, list(self.VALUES))
        x = [on_paper(encoding.decode(point)) for point in log.points]
        moved = [on_paper(encoding.decode(p)) for p in plan(rules_of("literal"), 7, generation, encoding, log)]
        rng = np.random.default_rng([7, generation])
        keys, gamma, r = rng.random((5, 1, 5)), rng.random((5, 3, 1)), rng.random((5, 1))
        for i in range(5):
            better = [k for k in range(5) if self.VALUES[k] < self.VALUES[i]]
            prey = min(better, key=lambda k: keys[i, 0, k]) if better else i
            expected = []
            for j in range(3):
                if generation == 3:
                    terms = sum(gamma[i, k, 0] * (x[prey][j] - x[i][j]) for k in range(3))
                    position = x[i][j] + 1 / 3 * terms
                else:
                    position = x[i][j] + (1 - 2 * r[i, 0]) * (1 / 3) * x[i][j]
                expected.append(min(max(position, BOUNDS[0, j]), BOUNDS[1, j]))
            expected[1] = np.floor(expected[1] + 0.5)
            np.testing.assert_allclose(moved[i], expected, rtol=1e-9)

    def test_the_best_of_literal_stays(self):
        encoding = Encoding(SPACE)
        log = log_of(encoding, list(self.VALUES))
        np.testing.assert_allclose(plan(rules_of("literal"), 7, 1, encoding, log)[1], log.points[1])

    @pytest.mark.parametrize("generation", [1, 2])
    def test_boa(self, generation):
        encoding = Encoding(SPACE)
        log = log_of(encoding, list(self.VALUES))
        x = [on_paper(encoding.decode(point)) for point in log.points]
        moved = [on_paper(encoding.decode(p)) for p in plan(rules_of("boa"), 7, generation, encoding, log)]
        rng = np.random.default_rng([7, generation])
        keys, r, intensity = rng.random((5, 1, 5)), rng.random((5, 3)), rng.integers(1, 3, (5, 3))
        for i in range(5):
            better = [k for k in range(5) if self.VALUES[k] < self.VALUES[i]]
            prey = min(better, key=lambda k: keys[i, 0, k]) if better else i
            expected = []
            for j in range(3):
                if generation == 1:
                    step = (1 - 2 * r[i, j]) * (x[prey][j] - intensity[i, j] * x[i][j])
                else:
                    step = (1 - 2 * r[i, j]) / 2 * x[i][j]
                expected.append(min(max(x[i][j] + step, BOUNDS[0, j]), BOUNDS[1, j]))
            expected[1] = np.floor(expected[1] + 0.5)
            np.testing.assert_allclose(moved[i], expected, rtol=1e-9)


class TestPaper:
    @pytest.mark.parametrize("gamma", ["dimension", "prey"])
    @pytest.mark.parametrize("generation", [1, 2])
    def test_in_the_unit_cube(self, generation, gamma):
        """A loop over the equations as read."""
        encoding = Encoding({"x": FloatDistribution(-1, 3), "y": FloatDistribution(1, 100, log=True)})
        values = [2.0, 1.0, 3.0, 4.0, 5.0]
        log = log_of(encoding, values)
        x = log.points
        rules = rules_of("paper", gamma=gamma)
        moved = plan(rules, 7, generation, encoding, log)
        rng = np.random.default_rng([7, generation])
        columns = 2 if gamma == "dimension" else 1
        keys, gammas, r = rng.random((5, 30, 5)), rng.random((5, 30, 3, columns)), rng.random((5, 30, 2))
        for i in range(5):
            better = sorted((k for k in range(5) if values[k] < values[i]), key=lambda k: keys[i, 0, k])
            for j in range(2):
                if generation == 1 and better:
                    terms = [gammas[i, 0, k, j % columns] * (x[prey, j] - x[i, j]) for k, prey in enumerate(better[:3])]
                    expected = x[i, j] + 1 / 2 * sum(terms)
                else:
                    expected = x[i, j] + (1 - 2 * r[i, 0, j]) / 2
                assert moved[i, j] == pytest.approx(min(max(expected, 0), 1))

    @pytest.mark.parametrize("variant", ["paper", "scent", "surrogate"])
    @pytest.mark.parametrize("generation", [1, 2, 3, 4])
    def test_nothing_is_tried_twice(self, variant, generation):
        encoding = Encoding({"x": IntDistribution(1, 4), "y": CategoricalDistribution(["a", "b"])})
        log = Log(
            np.array([[0.125, 0], [0.375, 1], [0.625, 0]]),
            np.array([2.0, 1.0, 3.0]),
            np.arange(3),
            np.array([[0.875, 1.0]]),
        )
        planned = plan(rules_of(variant, population=4), 3, generation, encoding, log)
        tried = [*map(tuple, log.points), *map(tuple, log.others)]
        bobcats = [tuple(point) for point in planned[:3]]  # the last has no trial yet and is scattered
        assert not set(bobcats) & set(tried)
        assert len(set(bobcats)) == 3

    @pytest.mark.parametrize("variant", ["paper", "scent", "surrogate"])
    def test_nothing_is_left(self, variant):
        encoding = Encoding({"x": IntDistribution(1, 2)})
        log = Log(np.array([[0.25], [0.75]]), np.array([1.0, 2.0]), np.arange(2), np.empty((0, 1)))
        assert set(plan(rules_of(variant, population=2), 3, 1, encoding, log)[:, 0]) <= {0.25, 0.75}


class TestChoices:
    def shares(self, rules: Rules, generation: int, bobcat: int) -> np.ndarray:
        encoding = Encoding({"x": FloatDistribution(0, 1), "model": CategoricalDistribution(["a", "b", "c", "d"])})
        points = np.array([[0.1, 0], [0.2, 1], [0.3, 2]])
        log = Log(points, np.array([1.0, 2.0, 3.0]), np.arange(3), np.empty((0, 2)))
        drawn = [plan(rules, seed, generation, encoding, log)[bobcat, 1] for seed in range(600)]
        return np.bincount(np.array(drawn, dtype=int), minlength=4) / 600

    @pytest.mark.parametrize(("generation", "redrawn"), [(2, 1 / 2), (8, 1 / 5)])
    def test_exploitation_draws_anew_less_and_less(self, generation, redrawn):
        expected = np.full(4, redrawn / 4)
        expected[2] += 1 - redrawn
        shares = self.shares(rules_of("literal", population=3), generation, 2)
        np.testing.assert_allclose(shares, expected, atol=0.06)

    def test_exploration_copies_prey(self):
        rules = rules_of("paper", population=3, num_prey=2, candidates=1)
        np.testing.assert_allclose(self.shares(rules, 1, 2), [0.25, 0.25, 0.5, 0], atol=0.06)
        rules = rules_of("literal", population=3)
        np.testing.assert_allclose(self.shares(rules, 1, 1), [0.5, 0.5, 0, 0], atol=0.06)

    def test_the_best_of_literal_stays(self):
        assert self.shares(rules_of("literal", population=3), 1, 0).tolist() == [1, 0, 0, 0]

    def test_the_best_of_paper_chases(self):
        rules = rules_of("paper", population=3, candidates=1)
        np.testing.assert_allclose(self.shares(rules, 1, 0), [0.625, 0.125, 0.125, 0.125], atol=0.06)


class TestRefine:
    """The moves of `surrogate` before its model selects: 4,000 of each of two bobcats, the second the better."""

    ENCODING = Encoding({f"x{j}": FloatDistribution(0, 1) for j in range(4)} | {"c": CategoricalDistribution("abc")})
    X = np.array([[0.2, 0.2, 0.2, 0.2, 0.0], [0.6, 0.6, 0.6, 0.95, 1.0]])

    def moved(self) -> np.ndarray:
        options = np.broadcast_to(self.X[:, None] + [0.1, 0.1, 0.1, 0.1, 0.0], (2, 4000, 5)).copy()
        options[..., 4] = 2
        return _refine(np.random.default_rng(0), self.ENCODING, self.X, np.array([2.0, 1.0]), options)

    def test_half_start_at_the_best_and_make_the_same_step(self):
        moved = self.moved()
        at_best = np.isclose(moved[0, :, 0], 0.6) | np.isclose(moved[0, :, 0], 0.7)
        assert at_best.mean() == pytest.approx(0.5, abs=0.03)
        np.testing.assert_allclose(np.unique(moved[0, at_best].round(9)[:, 3]), [0.95, 1.0])  # clipped at the bound
        np.testing.assert_allclose(np.unique(moved[0, ~at_best].round(9)[:, :4]), [0.2, 0.3])
        assert set(moved[0, at_best, 4]) == {1.0, 2.0} and set(moved[0, ~at_best, 4]) == {0.0, 2.0}

    def test_how_many_parameters_change(self):
        """One at least; a quarter of the moves change all, and a quarter that one only."""
        changed = (~np.isclose(self.moved()[1], self.X[1])).sum(axis=-1)
        shares = np.bincount(changed, minlength=6) / len(changed)
        assert shares[0] == 0
        assert shares[1] == pytest.approx((1 + 0.75**4 + 0.5**4) / 4, abs=0.03)
        assert shares[5] == pytest.approx((1 + 0.25**4 + 0.5**4) / 4, abs=0.03)


def test_redrawn_moves():
    """Ten to random points, and ten of one parameter of the best."""
    encoding = Encoding({f"x{j}": FloatDistribution(0, 1) for j in range(4)} | {"c": CategoricalDistribution("abc")})
    best = np.array([0.6, 0.6, 0.6, 0.95, 1.0])
    moved = _redraw(rules_of("surrogate", population=300), np.random.default_rng(0), encoding, best)
    assert moved.shape == (300, 20, 5)
    changed = moved != best
    assert changed[:, :10, :4].all()
    np.testing.assert_allclose(np.bincount(moved[:, :10, 4].ravel().astype(int)) / 3000, 1 / 3, atol=0.03)
    assert (changed[:, 10:].sum(axis=-1) <= 1).all()
    shares = changed[:, 10:].mean(axis=(0, 1))
    np.testing.assert_allclose(shares, [1 / 5] * 4 + [2 / 15], atol=0.03)


def test_the_model_of_many_trials_is_that_of_scent(monkeypatch):
    """`surrogate` predicts 100 trials by a Gaussian process, and 101 by radial basis functions."""
    encoding = Encoding(SPACE)
    used = []
    for name in ("GaussianProcess", "Surrogate"):
        model = getattr(generation, name)
        monkeypatch.setattr(generation, name, lambda *args, name=name, model=model: used.append(name) or model(*args))
    rng = np.random.default_rng(0)
    for count in (100, 101):
        log = Log(rng.random((count, 3)), rng.random(count), np.arange(count) % 5, np.empty((0, 3)))
        for variant in ("surrogate", "scent"):
            plan(rules_of(variant), 7, 30, encoding, log)
    assert used == ["GaussianProcess", "Surrogate", "Surrogate", "Surrogate"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("generation", [1, 2])
class TestEveryVariant:
    def test_the_same_again(self, variant, generation):
        encoding = Encoding(SPACE)
        log = log_of(encoding, [3.0, 1.0, np.nan, 2.0, np.inf])
        plans = [plan(rules_of(variant), 7, generation, encoding, log).tolist() for _ in range(2)]
        assert plans[0] == plans[1]
        assert plan(rules_of(variant), 8, generation, encoding, log).tolist() != plans[0]

    def test_the_failed_is_scattered_anew(self, variant, generation):
        encoding = Encoding(SPACE)
        planned = plan(rules_of(variant), 7, generation, encoding, log_of(encoding, [3.0, 1.0, np.nan, 2.0, 0.0]))
        columns = [
            scatter(rules_of(variant), 7, generation, name, dim) for name, dim in zip(SPACE, encoding.dimensions)
        ]
        expected = encoding.decode(np.array([column[2] for column in columns]))
        assert encoding.decode(planned[2]) == pytest.approx(expected)

    def test_all_failed(self, variant, generation):
        encoding = Encoding(SPACE)
        planned = plan(rules_of(variant), 7, generation, encoding, log_of(encoding, [np.nan] * 5))
        columns = [
            scatter(rules_of(variant), 7, generation, name, dim) for name, dim in zip(SPACE, encoding.dimensions)
        ]
        np.testing.assert_array_equal(planned, np.array(columns).T)

    def test_the_luck_of_one_does_not_depend_on_another(self, variant, generation):
        if variant in ("scent", "surrogate"):
            pytest.skip("its model sees every trial")
        encoding = Encoding(SPACE)
        planned = [
            plan(rules_of(variant), 7, generation, encoding, log_of(encoding, [3.0, 1.0, worst, 2.0, 0.0]))
            for worst in (9.0, np.nan)
        ]
        others = [0, 1, 3, 4]  # for whom the worst was no prey
        np.testing.assert_array_equal(planned[0][others], planned[1][others])

    @pytest.mark.parametrize("value", [1.0, np.inf, -np.inf])
    def test_a_constant_objective(self, variant, generation, value):
        encoding = Encoding(SPACE)
        planned = plan(rules_of(variant), 7, generation, encoding, log_of(encoding, [value] * 5))
        assert np.isfinite(planned).all()

    def test_within_the_bounds(self, variant, generation):
        encoding = Encoding(SPACE)
        for seed in range(20):
            for point in plan(rules_of(variant), seed, generation, encoding, log_of(encoding, [3.0, 1, 4, 2, 0], seed)):
                params = encoding.decode(point)
                assert all(SPACE[name]._contains(value) for name, value in params.items())
