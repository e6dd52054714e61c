from __future__ import annotations

from fer_lightning.report.short_title import shorten


def test_long_titles_are_cut_and_short_ones_stay():
    assert shorten("abcde", 5) == "abcde"
    assert shorten("abcdef", 5) == "abcd…"
    assert shorten("abc def", 5) == "abc…"
