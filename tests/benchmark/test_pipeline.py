from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fer_lightning.benchmark.pipeline import WARM_UP, hold_contest
from fer_lightning.deploy.benchmark.contest_table import contest_table, most_frequent
from fer_lightning.benchmark.peers import DRIVERS
from fer_lightning.deploy.benchmark.frames import HEIGHT, WIDTH, write_frames

# Waits as long as its first argument says, writes into the file of its second one when it looks, and ends itself after
# as many looks as its third one says.
PEER = f"""
import os, sys, time
sys.path.insert(0, {str(DRIVERS)!r})
from serving import Timed, serve

looks = 0

def look(frame):
    global looks
    looks += 1
    with open(sys.argv[2], "a") as log:
        log.write(sys.argv[1] + "\\n")
    if looks > int(sys.argv[3]):
        os._exit(3)
    time.sleep(float(sys.argv[1]))
    return [None, "sad", "happy"][frame[0, 0, 0]]

serve(lambda threads: Timed("peer", "1", "none", look))
"""


def as_given(things, word):
    return things


@pytest.fixture
def held(tmp_path: Path):
    """`held(slow={...})`: a contest of 7 rounds over 3 frames; returns it and who looked when."""
    program = tmp_path / "peer.py"
    program.write_text(PEER)
    frames = write_frames([np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in (0, 2, 2)], tmp_path)

    def hold(**settings: tuple[float, int]):
        commands = {
            who: [sys.executable, str(program), str(wait), str(tmp_path / "log"), str(most)]
            for who, (wait, most) in settings.items()
        }
        commands["missing"] = ["no-such-program"]
        contest = hold_contest(commands, frames, 1, 7, as_given)
        return contest, [float(line) for line in (tmp_path / "log").read_text().split()]

    return hold


def test_all_look_in_turns_and_the_first_one_changes(held):
    contest, looked = held(quick=(0.002, 999), slow=(0.006, 999))
    assert contest.left_out == {"missing": "no-such-program cannot be started (No such file or directory)"}
    assert set(contest.facts) == {"quick", "slow"}
    warm, timed = looked[: 2 * 3 * WARM_UP], looked[2 * 3 * WARM_UP :]
    assert warm == [0.002] * 3 * WARM_UP + [0.006] * 3 * WARM_UP
    assert timed == [
        wait for number in range(7) for wait in ((0.002, 0.006), (0.006, 0.002))[number % 2] for _ in "abc"
    ]
    counts = contest.times.groupby(["who", "stage", "round"]).size()
    assert len(counts) == 2 * 2 * 7 and (counts == 3).all()


def test_the_table_tells_the_ratio_of_what_was_measured(held):
    contest, _ = held(quick=(0.004, 999), slow=(0.012, 999))
    table = contest_table(contest, "quick").set_index(["who", "stage"])
    quick, slow = table.loc["quick", "whole"], table.loc["slow", "whole"]
    assert quick["ratio"] == quick["ratio_low"] == quick["ratio_high"] == 1
    assert slow["ratio_low"] <= slow["ratio"] <= slow["ratio_high"] and 1.5 < slow["ratio"] < 3.5
    own = contest.times[(contest.times["who"] == "slow") & (contest.times["stage"] == "whole")]["milliseconds"]
    assert slow["median_ms"] == np.median(own) and slow["n"] == 21
    assert slow["label"] == "happy" and slow["found"] == pytest.approx(2 / 3)


def test_one_that_dies_on_the_way_is_left_out_with_its_times(held):
    contest, _ = held(steady=(0.001, 999), mortal=(0.001, 3 * WARM_UP + 4))
    assert contest.left_out["mortal"] == "it ended with status 3"
    assert set(contest.times["who"]) == {"steady"} == set(contest.facts)
    assert contest.times["round"].nunique() == 7


def test_the_most_frequent_label():
    assert most_frequent(["sad", None, "happy", "sad"]) == "sad"
    assert most_frequent([None, None]) is None
