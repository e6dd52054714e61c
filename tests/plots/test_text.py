from __future__ import annotations

import pytest

from fer_lightning.plots.text import (
    as_printed,
    duration,
    markdown_line,
    p_value,
    percent,
    points,
    range_of_percents,
    shorten,
)

NAN = float("nan")


@pytest.mark.parametrize(
    "told, expected",
    [
        (duration(45.4), "45 s"),
        (duration(725), "12 min"),
        (duration(7501), "2 h 5 min"),
        (percent(0.98149), "98.1 %"),
        (as_printed(0.9178), "91.78 %"),
        (as_printed(0.9), "90 %"),
        (points(-0.0149), "-1.5"),
        (points(0.02), "+2.0"),
        (range_of_percents(0.733, 0.768), "73.3 % to 76.8 %"),
        (range_of_percents(0.65, 0.65), "65.0 %"),
        (p_value(0.00099), "< 0.001"),
        (p_value(0.0496), "0.050"),
    ],
)
def test_numbers(told, expected):
    assert told == expected


def test_no_number():
    assert {percent(NAN), as_printed(NAN), points(NAN), range_of_percents(NAN, NAN), p_value(NAN)} == {"-"}


def test_cells_stand_between_bars():
    assert markdown_line(["a", "b c"]) == "| a | b c |"


def test_long_titles_are_cut_and_short_ones_stay():
    assert shorten("abcde", 5) == "abcde"
    assert shorten("abcdef", 5) == "abcd…"
    assert shorten("abc def", 5) == "abc…"
