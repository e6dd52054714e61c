from __future__ import annotations

import itertools

import numpy as np
import pytest

from fer_lightning.results.intervals import accuracy_interval
from fer_lightning.results.label_noise import (
    annotator_against_the_others,
    annotator_agreement,
    best_against_annotator,
    consensus_agreement,
    summarise,
)

# Four answers, of which the last is "unknown".
VOTES = np.array([[7, 3, 0, 0], [5, 5, 0, 0], [1, 2, 3, 4], [4, 4, 2, 0]])
LABEL = np.array([0, 1, 2, 2])


def test_by_hand():
    assert consensus_agreement(VOTES, LABEL) == pytest.approx([1, 0.5, 0, 0])
    assert annotator_agreement(VOTES, LABEL) == pytest.approx([0.7, 0.5, 0.3, 0.2])
    assert best_against_annotator(VOTES, 3) == pytest.approx([0.7, 0.5, 0.3, 0.4])
    # 7 of 10 see a majority of 6 to 3 for their answer, 3 one of 7 to 2 against it; with 5 to 5 everybody is outvoted
    # by 5 to 4; with 4 to 4 to 2 everybody who gave a first answer is outvoted by 4 to 3, and so are the two.
    assert annotator_against_the_others(VOTES[[0, 1, 3]]) == pytest.approx([0.7, 0, 0])


def test_one_against_the_others_by_drawing_every_annotator():
    votes = np.random.default_rng(0).integers(0, 5, (50, 4)) + np.array([1, 1, 0, 0])
    expected = []
    for counts in votes:
        answers = list(itertools.chain.from_iterable([answer] * count for answer, count in enumerate(counts)))
        right = []
        for place, answer in enumerate(answers):
            others = answers[:place] + answers[place + 1 :]
            most = max(others.count(other) for other in others)
            first = [other for other in set(others) if others.count(other) == most]
            right.append((answer in first) / len(first))
        expected.append(np.mean(right))
    assert annotator_against_the_others(votes) == pytest.approx(expected)


def test_no_answer_beats_the_best():
    votes = np.random.default_rng(0).integers(0, 6, (40, 4)) + 1
    best = best_against_annotator(votes, 3)
    every = np.stack([annotator_agreement(votes, np.full(40, answer)) for answer in range(3)])
    assert best == pytest.approx(every.max(axis=0))


def test_summary_by_split_and_class():
    table = summarise(
        "m",
        np.array([1, 0.5, 0, 0.9]),
        np.array(["a", "a", "b", "b"]),
        np.array([0, 1, 0, 0]),
        ["happy", "sad", "fear"],
    )
    found = {(row.split, row[3]): (row.images, row.agreement) for row in table.itertuples()}
    assert found == {
        ("a", "all"): (2, pytest.approx(0.75)),
        ("a", "happy"): (1, 1),
        ("a", "sad"): (1, 0.5),
        ("b", "all"): (2, pytest.approx(0.45)),
        ("b", "happy"): (2, pytest.approx(0.45)),
        ("all", "all"): (4, pytest.approx(0.6)),
        ("all", "happy"): (3, pytest.approx(1.9 / 3)),
        ("all", "sad"): (1, 0.5),
    }
    together = table[(table["split"] == "all") & (table["class"] == "happy")].iloc[0]
    assert (together["low"], together["high"]) == accuracy_interval(2, 3)
