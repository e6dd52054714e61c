"""Classical test functions of minimisation, moved so that the minimum is 0 and lies at `z = 0`.

Source: the problem book of CEC 2017 (Awad, Ali, Liang, Qu and Suganthan, "Problem Definitions and Evaluation Criteria
for the CEC 2017 Special Session and Competition on Single Objective Bound Constrained Real-Parameter Numerical
Optimization", 2016), section "Definitions of the basic functions".

Each takes a vector `(d,)` and returns a number.
"""

from __future__ import annotations

import numpy as np


def sphere(z: np.ndarray) -> float:
    """A bowl."""
    return float(np.sum(z**2))


def rosenbrock(z: np.ndarray) -> float:
    """A narrow, bent valley; d of 2 or more."""
    y = z + 1
    return float(np.sum(100 * (y[:-1] ** 2 - y[1:]) ** 2 + (y[:-1] - 1) ** 2))


def rastrigin(z: np.ndarray) -> float:
    """A bowl full of regular dents."""
    return float(np.sum(z**2 - 10 * np.cos(2 * np.pi * z) + 10))


def ackley(z: np.ndarray) -> float:
    """A plain full of dents with a funnel in it."""
    distance = np.sqrt(np.mean(z**2))
    waves = np.mean(np.cos(2 * np.pi * z))
    return float(20 - 20 * np.exp(-0.2 * distance) + np.e - np.exp(waves))


def levy(z: np.ndarray) -> float:
    """Waves on a bowl.

    Readings: the book has `w = 1 + (z - 1) / 4`, whose minimum is not at the stated optimum `z = 0`; the code published
    with it has `w = 1 + z / 4`, which is used here.
    """
    w = 1 + z / 4
    first = np.sin(np.pi * w[0]) ** 2
    middle = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(first + middle + last)
