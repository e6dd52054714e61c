from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.deploy.smoothing import Smoother

BEFORE, AFTER = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@pytest.mark.parametrize("rate", [5, 30, 240])
def test_a_step_is_answered_alike_at_every_frame_rate(rate):
    smoother = Smoother(time_constant=0.4)
    smoother.smooth(1, BEFORE, 0.0)
    for frame in range(1, rate + 1):
        smoothed = smoother.smooth(1, AFTER, frame / rate)
    np.testing.assert_allclose(smoothed, [np.exp(-1 / 0.4), 1 - np.exp(-1 / 0.4)])


def test_frames_at_irregular_times_weigh_as_long_as_they_last():
    """Against the sum that the recursion stands for."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.3, 20))
    values = rng.dirichlet(np.ones(7), 20)
    smoother = Smoother(0.25)
    for seconds, value in zip(times, values):
        smoothed = smoother.smooth(3, value, seconds)
    kept = np.exp(-np.diff(times) / 0.25)
    weights = [np.prod(kept[row:]) * (1 if row == 0 else 1 - kept[row - 1]) for row in range(20)]
    np.testing.assert_allclose(smoothed, np.array(weights) @ values)
    assert smoothed.sum() == pytest.approx(1)


def test_people_do_not_mix_and_the_first_frame_is_as_it_is():
    smoother = Smoother(1.0)
    smoother.smooth(1, BEFORE, 0.0)
    np.testing.assert_array_equal(smoother.smooth(2, AFTER, 0.1), AFTER)


def test_without_a_time_constant_nothing_is_smoothed():
    smoother = Smoother(0.0)
    smoother.smooth(1, BEFORE, 0.0)
    np.testing.assert_array_equal(smoother.smooth(1, AFTER, 0.01), AFTER)
