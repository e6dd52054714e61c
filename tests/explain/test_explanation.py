from __future__ import annotations

import numpy as np

from fer_lightning.explain.explanation import candidates, choose_rows


def test_classes_are_balanced_and_half_of_the_faces_are_wrong():
    targets = np.repeat(np.arange(4), 20)
    predicted = np.where(np.arange(80) % 2 == 0, targets, (targets + 1) % 4)
    rows = choose_rows(targets, predicted, 16)

    assert len(set(rows)) == 16
    assert np.bincount(targets[rows]).tolist() == [4, 4, 4, 4]
    assert (targets[rows] == predicted[rows]).sum() == 8


def test_what_a_class_lacks_is_filled_by_the_others():
    targets = np.array([0, 0, 0, 0, 1])
    rows = choose_rows(targets, targets, 4)
    assert sorted(targets[rows]) == [0, 0, 0, 1]
    assert len(choose_rows(targets, targets, 99)) == 5


def test_candidates_are_drawn_from_every_class():
    targets = np.array([0] * 50 + [1] * 3)
    rows = candidates(targets, 10, seed=0)
    assert np.bincount(targets[rows]).tolist() == [10, 3]
    assert len(set(rows)) == 13
    assert not np.array_equal(rows, candidates(targets, 10, seed=1))
