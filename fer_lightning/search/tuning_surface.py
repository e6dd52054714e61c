"""A made-up surface with the shape of a hyperparameter search.

It is no measurement of any net: a formula over the four hyperparameters that PsySFA-Net's search has (its Table 2), so
that samplers can be compared on mixed, logarithmic, noisy ground whose optimum is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

NOISE = 0.01
LOWEST = 0.9
OPTIMUM = {"learning_rate": 1e-3 * np.sqrt(24 / 32), "batch_size": 24, "dropout": 0.34, "num_filters": 24}


def tuning_space() -> dict[str, BaseDistribution]:
    """The ranges of Table 2."""
    return {
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": IntDistribution(8, 64),
        "dropout": FloatDistribution(0.1, 0.5),
        "num_filters": IntDistribution(8, 32),
    }


def tuning_loss(params: Mapping[str, Any]) -> float:
    """A validation loss without noise, at least 0.9.

    With rate r, batch b, dropout p and n filters:

        a = log10(r / (0.001 sqrt(b / 32)))          how far the rate is off, in decades
        loss = 0.9 + 0.7 (1 - exp(-1.5 a^2))         too slow or too fast: both end on a plateau
                   + 0.05 log2(b / 24)^2
                   + 3 (p - 0.3 - 0.01 (n - 20))^2   a larger net wants more dropout
                   + 0.1 log2(n / 24)^2

    No term is negative and all are 0 at `OPTIMUM` alone.

    Args:
        params: `learning_rate`, `batch_size`, `dropout`, `num_filters`.
    """
    batch, filters = params["batch_size"], params["num_filters"]
    off = np.log10(params["learning_rate"] / (1e-3 * np.sqrt(batch / 32)))
    rate = 0.7 * (1 - np.exp(-1.5 * off**2))
    regularisation = 3 * (params["dropout"] - 0.3 - 0.01 * (filters - 20)) ** 2
    return float(LOWEST + rate + 0.05 * np.log2(batch / 24) ** 2 + regularisation + 0.1 * np.log2(filters / 24) ** 2)
