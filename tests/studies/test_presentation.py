from __future__ import annotations

import pandas as pd
import pytest

from fer_lightning.studies.comparison_table import COLUMNS
from fer_lightning.studies.presentation import Finding, PresentedTable, conclusions, judge, present_comparison

NAN = float("nan")


def full(**cells: object) -> dict[str, object]:
    return {"row": "Full", "published": 0.981, "mean": 0.493, "sd": 0.009, "n_seeds": 3, "dataset": "fer2013", **cells}


def other(name: str, claimed: float, measured: float, p: float, **cells: object) -> dict[str, object]:
    row = {"row": name, "published": 0.981 + claimed, "published_difference": claimed, "mean": 0.493 + measured}
    return {**row, "n_seeds": 3, "difference": measured, "test": "paired t, 3 seeds", "p_holm": p, **cells}


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).reindex(columns=list(COLUMNS))


def judged(**cells: object) -> Finding:
    return judge(table(other("No fusion", -0.015, -0.02, 0.01, **cells)).iloc[0], "Full")


@pytest.mark.parametrize(
    "claimed, measured, p, finding",
    [
        (-0.015, -0.02, 0.01, Finding.CONFIRMED),
        (0.015, 0.2, 0.01, Finding.CONFIRMED),
        (-0.015, 0.02, 0.01, Finding.OTHER_WAY),
        (-0.015, -0.3, 0.05, Finding.NOT_SHOWN),
        (-0.015, 0.02, 0.9, Finding.NOT_SHOWN),
        (NAN, -0.02, 0.01, Finding.SHOWN),
        (NAN, -0.02, 0.06, Finding.NOT_SHOWN),
        (0.0, -0.02, 0.01, Finding.SHOWN),
        (0.3 - 0.1 - 0.2, -0.02, 0.01, Finding.SHOWN),
        (-0.015, -0.02, NAN, Finding.NOT_TESTED),
    ],
)
def test_a_row(claimed, measured, p, finding):
    assert judge(table(other("No fusion", claimed, measured, p)).iloc[0], "Full") == finding


@pytest.mark.parametrize("test", ["McNemar, seed 0", "none: one seed"])
def test_one_seed_confirms_nothing(test):
    assert judged(test=test, p_holm=1e-30) == Finding.ONE_SEED


@pytest.mark.parametrize("test", ["none: all seeds differ alike", "no seed in common", "the same runs", None])
def test_without_a_test_nothing_is_said(test):
    assert judged(test=test, p_holm=NAN) == Finding.NOT_TESTED


def test_what_was_not_run_is_neither_shown_nor_refuted():
    assert judged(n_seeds=0, test=None, p_holm=NAN) == Finding.NOT_RUN


def test_a_study_in_sentences():
    comparison = table(
        full(),
        other("No fusion", -0.015, -0.02, 0.01),
        other("No attention", -0.011, 0.01, 0.02),
        other("No spectral", -0.006, -0.3, 0.2),
        other("No fractal", -0.008, NAN, NAN, n_seeds=0),
        other("No suppression", NAN, 0.001, 0.7),
    )
    assert conclusions(present_comparison(comparison, "Full")) == [
        "Published for “Full”, as a claim: 98.1 %.",
        "Measured here on fer2013: 49.3 % ± 0.9 over 3 seeds.",
        "Of 4 claimed differences to it, 1 is confirmed (Holm p < 0.05), 1 points the other way, 1 is not shown and "
        "1 was not run.",
        "Of 1 difference to it that the paper does not claim, 0 are shown (Holm p < 0.05) and 1 is not shown.",
    ]


def test_one_seed_in_sentences():
    one = {"n_seeds": 1, "test": "McNemar, seed 0"}
    rows = [other(name, -0.015, -0.02, 1e-9, **one) for name in ("No fusion", "No attention")]
    assert conclusions(present_comparison(table(full(n_seeds=1, sd=NAN), *rows), "Full")) == [
        "Published for “Full”, as a claim: 98.1 %.",
        "Measured here on fer2013: 49.3 % with one seed.",
        "Of 2 claimed differences to it, 0 are confirmed (Holm p < 0.05) and 2 rest on one seed (which confirms "
        "nothing).",
    ]


def test_a_reference_that_was_not_run():
    rows = [full(n_seeds=0, mean=NAN, dataset=None), other("No fusion", -0.015, NAN, NAN, test=None)]
    assert conclusions(present_comparison(table(*rows), "Full")) == [
        "Published for “Full”, as a claim: 98.1 %.",
        "Not run here yet, so that nothing can be compared with it.",
        "Of 1 claimed difference to it, 0 are confirmed (Holm p < 0.05) and 1 could not be tested.",
    ]


def test_nothing_was_run():
    assert conclusions(present_comparison(table(full(n_seeds=0, mean=NAN)), "Full")) == [
        "Nothing was run yet: every cell is open."
    ]


def test_no_claim():
    first, *_ = conclusions(present_comparison(table(full(published=NAN)), "Full"))
    assert first == "No number was published for “Full”."


def test_claims_without_a_reference():
    rows = [
        full(row="Happy", published=0.97, low=0.45, high=0.52, gap=-0.477),
        full(row="Sad", published=0.5, low=0.45, high=0.52, gap=-0.007),
        full(row="Fear", published=0.4, low=0.45, high=0.52, gap=0.093),
        full(row="Angry", n_seeds=1, gap=-0.488),
        full(row="Calm", n_seeds=0, mean=NAN),
    ]
    assert conclusions(present_comparison(table(*rows), None)) == [
        "Of 5 published numbers, 4 were measured here: 1 lies above the measured 95 % interval, 1 lies inside it, 1 "
        "lies below it and 1 lies beside a single seed without an interval.",
        "Measured minus published: -48.8 to +9.3 points.",
    ]


def test_measured_alone():
    assert conclusions(present_comparison(table(full(published=NAN)), None)) == [
        "No published number stands beside what was measured."
    ]


def test_where_no_paper_has_a_number_none_is_spoken_of():
    rows = [full(published=NAN), other("ResNet", NAN, 0.02, 0.01)]
    assert conclusions(present_comparison(table(*rows).assign(published=NAN), "Full"))[2:] == [
        "Of 1 difference to it, 1 is shown (Holm p < 0.05)."
    ]


def presented(*rows: dict[str, object], reference: str | None = "Full") -> PresentedTable:
    return present_comparison(table(full(low=0.47, high=0.51, published=0.98), *rows), reference)


def test_text_and_number_of_a_row():
    ends = {"difference_low": -0.05, "difference_high": 0.01}
    first, line = presented(other("No fusion", -0.015, -0.02, 0.3, **ends)).lines
    assert (line.difference.text, line.difference.order) == ("-2.0", -0.02)
    assert (line.difference.interval, line.difference.low, line.difference.high) == ("[-5.0, +1.0]", -0.05, 0.01)
    assert (line.p.text, line.p.order, line.finding) == ("0.300", 0.3, Finding.NOT_SHOWN)
    assert (first.measured.text, first.spread, first.measured.interval) == ("49.3 %", " ± 0.9", "[47.0, 51.0]")
    assert (first.published_difference.text, first.published_difference.order) == ("-", None)


POOLED = {"pooled_difference": -0.039, "pooled_low": -0.058, "pooled_high": -0.0195, "pooled_p_holm": 0.005}
POWER = {"difference_sd": 0.0157, "difference_sd_low": 0.0115, "difference_sd_high": 0.0247, "pairs": 3}
POWER |= {"detectable": 0.1359, "pooled_detectable": 0.0485, "seeds_for_a_point": 35}


def test_the_estimate_from_all_rows_together():
    first, line = presented(other("No fusion", -0.015, -0.02, 0.3, **POOLED)).lines
    assert (line.pooled.text, line.pooled.interval, line.pooled_p.text) == ("-3.9", "[-5.8, -1.9]", "0.005")
    assert line.finding is Finding.NOT_SHOWN and first.pooled.order is None


def test_the_power_in_sentences():
    first = other("No fusion", -0.015, -0.02, 0.3, **POWER) | {"p": 0.15}
    assert presented(first, first | {"pairs": 5, "detectable": 0.05}).power == (
        "Power: differences spread by 1.6 points over seeds (95 % interval 1.1 to 2.5). In more than one of five such "
        "studies, the paired t-test at Holm's first level (0.05 / 2) would miss a true difference below 13.6 points "
        "with 3 seeds and 5.0 points with 5 seeds, the estimate from all rows together one below 4.9 points. The "
        "paired test needs 35 seeds to find 1 point."
    )
    assert presented(other("No fusion", -0.015, -0.02, 0.3)).power == ""


def test_what_was_not_run():
    line = presented({"row": "No search", "n_seeds": 0, "published": 0.9}).lines[1]
    assert (line.measured.text, line.measured.order) == ("not run", None)
    assert (line.seeds.text, line.seeds.order) == ("-", None)


def test_without_a_reference_nothing_is_found():
    comparison = presented(reference="No such row")
    assert comparison.reference is None and comparison.lines[0].finding is None


@pytest.mark.parametrize("cells", [{"interval": "test images"}, {"test": "McNemar, seed 0", "p_holm": 0.01}])
def test_one_seed_is_told(cells):
    assert presented({"row": "No fusion", "n_seeds": 1, "mean": 0.5, **cells}).one_seed
    assert not presented().one_seed


def test_folds_are_told():
    assert presented({"row": "Happy", "n_seeds": 10, "interval": "folds"}).covers("folds")
    assert not presented({"row": "Happy", "n_seeds": 10, "interval": "seeds"}).covers("folds")
