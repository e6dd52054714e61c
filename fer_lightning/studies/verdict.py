"""What a ledger shows, in plain words that claim no more than its numbers do."""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum

import pandas as pd

from fer_lightning.plots.text import as_printed, percent, points

LEVEL = 0.05
_UNCLAIMED = " that the paper does not claim"
_ROUNDING = 1e-6  # published differences are differences of floats


class Finding(Enum):
    """What was found about the difference of a row to the reference; the value is the word for it."""

    REFERENCE = "reference"
    CONFIRMED = "confirmed"
    SHOWN = "shown"
    OTHER_WAY = "the other way"
    NOT_SHOWN = "not shown"
    ONE_SEED = "one seed"
    NOT_TESTED = "not tested"
    NOT_RUN = "not run"


_TOLD = {
    Finding.CONFIRMED: ("is confirmed", "are confirmed"),
    Finding.SHOWN: ("is shown", "are shown"),
    Finding.OTHER_WAY: ("points the other way", "point the other way"),
    Finding.NOT_SHOWN: ("is not shown", "are not shown"),
    Finding.ONE_SEED: ("rests on one seed (which confirms nothing)", "rest on one seed (which confirms nothing)"),
    Finding.NOT_TESTED: ("could not be tested", "could not be tested"),
    Finding.NOT_RUN: ("was not run", "were not run"),
}


def judge(row: pd.Series, reference: str | None) -> Finding:
    """Judges a row of a ledger.

    Args:
        row: As `build_ledger` returns it.
        reference: Title of the row that the others were tested against.

    Readings:
        - A claim is the sign of a published difference: one of the same sign with Holm's p below `LEVEL` over at least
          two seeds confirms it, whatever its size. Where the paper has no difference, or none of any size, one that is
          significant is merely shown.
        - McNemar's test of one seed is significant where one run was luckier than the other, so that it shows nothing
          of the variants.
    """
    if row["row"] == reference:
        return Finding.REFERENCE
    if row["n_seeds"] == 0:
        return Finding.NOT_RUN
    test = "" if pd.isna(row["test"]) else str(row["test"])
    if test.startswith("McNemar") or test == "none: one seed":
        return Finding.ONE_SEED
    if not test.startswith("paired t") or math.isnan(row["p_holm"]):
        return Finding.NOT_TESTED
    if row["p_holm"] >= LEVEL:
        return Finding.NOT_SHOWN
    if not abs(row["published_difference"]) > _ROUNDING:  # or NaN
        return Finding.SHOWN
    alike = (row["difference"] > 0) == (row["published_difference"] > 0)
    return Finding.CONFIRMED if alike else Finding.OTHER_WAY


def verdict(ledger: pd.DataFrame, reference: str | None) -> list[str]:
    """Says in sentences what was claimed, what was measured and what that shows.

    Args:
        ledger: As `build_ledger` returns it.
        reference: Title of the row that the others were tested against, or None.
    """
    if (ledger["n_seeds"] == 0).all():
        return ["Nothing was run yet: every cell is open."]
    if reference is None:
        return _against_claims(ledger)
    basis = ledger[ledger["row"] == reference].iloc[0]
    others = ledger[ledger["row"] != reference]
    claimed = others["published_difference"].abs() > _ROUNDING
    found = others.apply(judge, axis=1, args=(reference,))
    of_a_paper = ledger["published"].notna().any()
    return [
        *_scores(basis),
        *_counted(found[claimed], "claimed difference", "to it", Finding.CONFIRMED),
        *_counted(found[~claimed], "difference", f"to it{_UNCLAIMED if of_a_paper else ''}", Finding.SHOWN),
    ]


def _scores(basis: pd.Series) -> list[str]:
    claim = f"No number was published for “{basis['row']}”."
    if not math.isnan(basis["published"]):
        claim = f"Published for “{basis['row']}”, as a claim: {as_printed(basis['published'])}."
    if basis["n_seeds"] == 0:
        return [claim, "Not run here yet, so that nothing can be compared with it."]
    told = f"Measured here on {basis['dataset']}: {percent(basis['mean'])}"
    if basis["n_seeds"] == 1:
        return [claim, f"{told} with one seed."]
    return [claim, f"{told} ± {100 * basis['sd']:.1f} over {basis['n_seeds']} seeds."]


def _counted(found: pd.Series, what: str, to: str, headline: Finding) -> list[str]:
    """One sentence, which starts with how many there are and names the number of the headline even where it is 0."""
    if found.empty:
        return []
    counts = Counter(found)
    parts = [
        f"{counts[finding]} {_TOLD[finding][counts[finding] != 1]}"
        for finding in _TOLD
        if counts[finding] or finding is headline
    ]
    parts[0] += f" (Holm p < {LEVEL:g})"
    return [f"Of {len(found)} {what}{'s' if len(found) != 1 else ''} {to}, {_listed(parts)}."]


def _against_claims(ledger: pd.DataFrame) -> list[str]:
    claimed = ledger[ledger["published"].notna()]
    measured = claimed[claimed["n_seeds"] > 0]
    if measured.empty:
        return ["No published number stands beside what was measured."]
    known = measured["low"].notna()
    places = {
        "above the measured 95 % interval": measured["published"] > measured["high"],
        "inside it": known & measured["published"].between(measured["low"], measured["high"]),
        "below it": measured["published"] < measured["low"],
        "beside a single seed without an interval": ~known,
    }
    counts = [(int(there.sum()), place) for place, there in places.items()]
    parts = [f"{count} lie{'s' if count == 1 else ''} {place}" for count, place in counts if count or "above" in place]
    gaps = measured["gap"]
    return [
        f"Of {len(claimed)} published number{'s' if len(claimed) != 1 else ''}, {len(measured)} "
        f"{'was' if len(measured) == 1 else 'were'} measured here: {_listed(parts)}.",
        f"Measured minus published: {points(gaps.min())} to {points(gaps.max())} points.",
    ]


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
