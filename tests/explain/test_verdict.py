from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fer_lightning.explain.faithfulness import Curves
from fer_lightning.explain.verdict import area_table, compare, told


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
    good, none = told(compare(areas))
    assert good.startswith(
        "Good beats the same map at random places in deletion and insertion over 12 faces: deletion "
    )
    assert none.startswith("None does not beat the same map at random places")


def test_few_faces_tell_nothing(areas):
    few = areas[areas["face"].isin(["face 0", "face 1"])]
    assert "2 faces are too few to tell" in told(compare(few))[0]
