from __future__ import annotations

import pandas as pd
import pytest

from fer_lightning.studies.ledger import COLUMNS
from fer_lightning.report.page_ledger import Bar, lay_out_ledger
from fer_lightning.studies.verdict import Finding


def laid_out(*rows: dict[str, object], reference: str | None = "Full"):
    full = {"row": "Full", "published": 0.98, "mean": 0.5, "sd": 0.02, "low": 0.4, "high": 0.6, "n_seeds": 3}
    return lay_out_ledger(pd.DataFrame([full, *rows]).reindex(columns=list(COLUMNS)), reference)


def other(difference: float, low: float, high: float, claimed: float) -> dict[str, object]:
    return {
        "row": "No fusion",
        "n_seeds": 3,
        "mean": 0.5 + difference,
        "published_difference": claimed,
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "test": "paired t, 3 seeds",
        "p_holm": 0.3,
    }


def test_text_and_order_of_a_row():
    line = laid_out(other(-0.02, -0.05, 0.01, -0.015)).lines[1]
    assert (line.difference.text, line.difference.order) == ("−2.0", -0.02)
    assert line.difference_interval == "[−5.0, +1.0]"
    assert (line.p.text, line.p.order, line.finding) == ("0.300", 0.3, Finding.NOT_SHOWN)
    assert (line.published.text, line.published.order) == ("−", None)


def test_scores_lie_between_0_and_100():
    ledger = laid_out(
        {"row": "Far", "n_seeds": 0, "credible_low": 0.733, "credible_high": 0.768, "annotator_agreement": 0.64}
    )
    assert ledger.lines[0].score_bar == Bar(0.0, 50.0, 40.0, 60.0, 98.0)
    assert ledger.lines[1].score_bar == Bar(0.0, None, None, None, None, (73.3, 76.8), 64.0)


def test_differences_share_a_scale_around_0():
    bar = laid_out(other(0.02, 0.01, 0.03, -0.015)).lines[1].difference_bar
    full = 1.05 * 0.03
    places = [50 * (1 + each / full) for each in (0.02, 0.01, 0.03, -0.015)]
    assert [bar.value, bar.low, bar.high, bar.claim] == pytest.approx(places, abs=0.01)


def test_a_huge_interval_runs_out_of_its_bar_instead_of_hiding_the_rest():
    ledger = laid_out(other(0.02, -0.5, 0.54, 0.01))
    bar = ledger.lines[1].difference_bar
    assert bar.low < 0 and bar.high > 100
    assert ledger.span == "4.2"


def test_what_was_not_run():
    line = laid_out({"row": "No search", "n_seeds": 0, "published": 0.9}).lines[1]
    assert (line.measured.text, line.measured.order, line.run) == ("not run", None, False)
    assert (line.seeds.text, line.seeds.order) == ("−", None)


def test_without_a_reference_nothing_is_found():
    ledger = laid_out(reference=None)
    assert not ledger.tested and ledger.lines[0].finding is None


@pytest.mark.parametrize("cells", [{"interval": "test images"}, {"test": "McNemar, seed 0", "p_holm": 0.01}])
def test_one_seed_is_told(cells):
    assert laid_out({"row": "No fusion", "n_seeds": 1, "mean": 0.5, **cells}).one_seed
    assert not laid_out().one_seed


def test_folds_are_told():
    assert laid_out({"row": "Happy", "n_seeds": 10, "interval": "folds"}).over_folds
    assert not laid_out({"row": "Happy", "n_seeds": 10, "interval": "seeds"}).over_folds
