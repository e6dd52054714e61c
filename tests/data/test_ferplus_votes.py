"""Hand-computed votes; columns: neutral happy surprise sad angry disgust fear contempt | unknown NF."""

from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.ferplus_votes import (
    DROPPED,
    majority,
    probability,
    read_folder_votes,
    read_votes,
    soft_votes,
    without_single_votes,
)
from fer_lightning.errors import UserError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
NEUTRAL, HAPPY, SURPRISE, SAD = range(4)


def test_reads_the_owners_file(tmp_path):
    path = tmp_path / "fer2013new.csv"
    path.write_text(f"{HEADER}\nTraining,fer0000000.png,4,0,0,1,3,2,0,0,0,0\nPublicTest,,0,0,0,0,0,0,0,0,0,10\n")
    table = read_votes(path)
    assert table.frame.values.tolist() == [["Training", "fer0000000.png", True], ["PublicTest", "", True]]
    assert table.votes.tolist() == [[4, 0, 0, 1, 3, 2, 0, 0, 0, 0], [0] * 9 + [10]]


def test_columns_are_found_by_name(tmp_path):
    path = tmp_path / "fer2013new.csv"
    names = HEADER.split(",")
    path.write_text(f"{','.join(reversed(names))}\n10,9,8,7,6,5,4,3,2,1,a.png,Training\n")
    assert read_votes(path).votes.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]


@pytest.mark.parametrize("box", ["", '"(0, 0, 48, 48)",'])
def test_reads_the_lists_of_generated_folders(tmp_path, box):
    path = tmp_path / "label.csv"
    path.write_text(f"fer0000000.png,{box}4,0,0,1,3,2,0,0,0,0\n")
    table = read_folder_votes(path, "PublicTest")
    assert table.frame.values.tolist() == [["PublicTest", "fer0000000.png", True]]
    assert table.votes.tolist() == [[4, 0, 0, 1, 3, 2, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    "row", ["Training,a.png,4,x,0,1,3,2,0,0,0,0", "Training,a.png,4,0", "Training,a.png" + ",-1" * 10]
)
def test_a_bad_row_keeps_its_place_and_is_named(tmp_path, row):
    path = tmp_path / "fer2013new.csv"
    path.write_text(f"{HEADER}\n{row}\nTraining,b.png,4,0,0,1,3,2,0,0,0,0\n")
    table = read_votes(path)
    assert table.frame["valid"].tolist() == [False, True]
    assert len(table.bad) == 1
    assert table.bad[0].startswith(f"{path} row 1: expected 10 counts of votes")


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "fer2013new.csv"
    path.write_text(HEADER.replace(",contempt", "") + "\n")
    with pytest.raises(UserError, match=r"fer2013new\.csv has no column contempt"):
        read_votes(path)


def test_single_votes_count_as_mistakes():
    votes = np.array([[1, 2, 0, 1, 0, 0, 0, 0, 1, 5]])
    assert without_single_votes(votes).tolist() == [[0, 2, 0, 0, 0, 0, 0, 0, 0, 5]]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([6, 0, 0, 4, 0, 0, 0, 0, 0, 0], NEUTRAL),  # 6 > 5
        ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], DROPPED),  # a tie: 5 is not more than 5
        ([5, 1, 1, 1, 1, 1, 0, 0, 0, 0], NEUTRAL),  # singles leave the sum: 5 > 2.5
        ([4, 0, 0, 3, 0, 0, 0, 0, 3, 0], DROPPED),  # unknown counts in the sum: 4 < 5
        ([0, 6, 0, 0, 0, 0, 0, 0, 2, 2], HAPPY),  # 6 > 5
        ([2, 0, 0, 0, 0, 0, 0, 0, 8, 0], DROPPED),  # unknown wins
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], DROPPED),  # no face
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], DROPPED),  # nothing but single votes
    ],
)
def test_majority(votes, expected):
    assert majority(np.array([votes])).tolist() == [expected]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        # 8 of 10 cover 75 %: one emotion.
        ([8, 2, 0, 0, 0, 0, 0, 0, 0, 0], {NEUTRAL: 1.0}),
        # 6 do not, 6 + 4 do.
        ([6, 0, 0, 4, 0, 0, 0, 0, 0, 0], {NEUTRAL: 0.6, SAD: 0.4}),
        # Tied emotions are taken together.
        ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], {NEUTRAL: 0.5, SAD: 0.5}),
        # The single vote leaves the sum of 9: 4, then 4 + 3 = 7 >= 6.75.
        ([4, 3, 2, 1, 0, 0, 0, 0, 0, 0], {NEUTRAL: 4 / 7, HAPPY: 3 / 7}),
        # 3, and the tie 2 + 2 + 2 makes four emotions: more than three are needed.
        ([4, 2, 2, 2, 0, 0, 0, 0, 0, 0], {}),
        # Three emotions are the most: 4, then the tie 3 + 3.
        ([4, 3, 3, 0, 0, 0, 0, 0, 0, 0], {NEUTRAL: 0.4, HAPPY: 0.3, SURPRISE: 0.3}),
        # Unknown ends the search; 6 of 10 votes are more than half.
        ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], {NEUTRAL: 1.0}),
        # Unknown ties with an emotion; 5 of 10 is not more than half.
        ([5, 0, 0, 0, 0, 0, 0, 0, 5, 0], {}),
        # The emotion tied with unknown is taken too: 3 + 3 of 9.
        ([3, 3, 0, 0, 0, 0, 0, 0, 3, 0], {NEUTRAL: 0.5, HAPPY: 0.5}),
        # Unknown comes first.
        ([4, 0, 0, 0, 0, 0, 0, 0, 6, 0], {}),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], {}),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], {}),
    ],
)
def test_probability(votes, expected):
    distribution = np.zeros(8)
    for emotion, share in expected.items():
        distribution[emotion] = share
    np.testing.assert_allclose(probability(np.array([votes])), [distribution])


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([5, 1, 3, 0, 0, 0, 0, 0, 0, 1], {NEUTRAL: 5 / 8, SURPRISE: 3 / 8}),
        ([4, 0, 0, 2, 0, 0, 0, 0, 4, 0], {NEUTRAL: 4 / 6, SAD: 2 / 6}),  # unknown ties: kept
        ([4, 0, 0, 0, 0, 0, 0, 0, 6, 0], {}),
        ([0, 0, 0, 0, 0, 0, 0, 0, 1, 1], {}),
    ],
)
def test_soft_votes(votes, expected):
    distribution = np.zeros(8)
    for emotion, share in expected.items():
        distribution[emotion] = share
    np.testing.assert_allclose(soft_votes(np.array([votes])), [distribution])


def test_whoever_has_a_majority_is_kept_by_every_rule_with_the_same_top_emotion():
    votes = np.random.default_rng(0).multinomial(10, [0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05], 2000)
    winner = majority(votes)
    decided = winner != DROPPED
    assert 100 < decided.sum() < 1900
    for rule in (probability, soft_votes):
        distributions = rule(votes)
        np.testing.assert_array_equal(distributions[decided].argmax(axis=1), winner[decided])
        sums = distributions.sum(axis=1)
        assert np.all(np.isclose(sums, 1) | (sums == 0))
