"""How many bobcats a budget can feed."""

from __future__ import annotations


def population_for(n_trials: int | None) -> int:
    """Returns the size of the population that measured best at a budget.

    The paper names 20 bobcats in its text and 10 in its pseudocode, both without a reason. Few bobcats make more
    generations of the same number of trials, which pays where trials are few.

    Args:
        n_trials: Trials that the whole search may take, or None where that is not known.

    Returns:
        8 up to 60 trials, 12 up to 150, else 20, as in the text of the paper.
    """
    if n_trials is None or n_trials > 150:
        return 20
    return 8 if n_trials <= 60 else 12
