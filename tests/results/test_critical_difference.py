from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, rankdata

from fer_lightning.errors import UserError
from fer_lightning.results.critical_difference import critical_difference

# Demšar, JMLR 7, 2006, Table 6: AUC of C4.5 and three variants on 14 data sets. In the
# 13th row (voting) it prints 0.975 twice, with ranks 2 and 3: digits that were not printed
# told them apart, and the mean ranks of the paper need that.
DEMSAR = """C4.5,C4.5+m,C4.5+cf,C4.5+m+cf
0.763,0.768,0.771,0.798
0.599,0.591,0.590,0.569
0.954,0.971,0.968,0.967
0.628,0.661,0.654,0.657
0.882,0.888,0.886,0.898
0.936,0.931,0.916,0.931
0.661,0.668,0.609,0.685
0.583,0.583,0.563,0.625
0.775,0.838,0.866,0.875
1.000,1.000,1.000,1.000
0.940,0.962,0.965,0.962
0.619,0.666,0.614,0.669
0.972,0.981,0.9751,0.975
0.957,0.978,0.946,0.970
"""


@pytest.fixture
def demsar() -> pd.DataFrame:
    return pd.read_csv(io.StringIO(DEMSAR))


def test_agrees_with_the_paper(demsar):
    found = critical_difference(demsar)
    assert found.ranks.round(3).to_dict() == {"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert critical_difference(demsar, alpha=0.1).critical == pytest.approx(1.12, abs=0.005)
    assert found.blocks == 14


def test_agrees_with_the_conclusions_of_the_paper(demsar):
    """No difference at 0.05; at 0.10 C4.5 is worse than the variants with m, and C4.5+cf joins either (Figure 1a)."""
    assert critical_difference(demsar).groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]]
    assert critical_difference(demsar, alpha=0.1).groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]]


@pytest.mark.parametrize(("alpha", "quantile"), [(0.05, 2.569), (0.1, 2.291)])
def test_the_quantile_is_that_of_the_paper(demsar, alpha, quantile):
    assert critical_difference(demsar, alpha).critical == pytest.approx(quantile * (20 / 84) ** 0.5, abs=3e-4)


def test_friedman_agrees_with_its_equation(demsar):
    # Without the mushroom row and other ties it is 12 N / (k (k + 1)) * (sum of squared mean ranks - k (k + 1)^2 / 4).
    scores = demsar.iloc[[0, 1, 2, 3, 4, 6, 8, 11, 13]]
    ranks = np.array([rankdata(-row) for row in scores.to_numpy()]).mean(axis=0)
    statistic = 12 * 9 / 20 * ((ranks**2).sum() - 25)
    assert critical_difference(scores).friedman_p == pytest.approx(chi2.sf(statistic, 3))


@pytest.mark.parametrize("alpha", [0.05, 0.07, 0.1])
def test_a_difference_is_critical_where_the_p_value_of_scikit_posthocs_is_at_the_level(demsar, alpha):
    posthocs = pytest.importorskip("scikit_posthocs")
    found = critical_difference(demsar, alpha)
    apart = np.abs(found.ranks.to_numpy()[:, None] - found.ranks.to_numpy())
    theirs = posthocs.posthoc_nemenyi_friedman(demsar).loc[found.ranks.index, found.ranks.index]
    assert ((apart >= found.critical) == (theirs <= alpha)).all(axis=None)


def test_the_critical_difference_has_the_p_value_of_the_level(demsar):
    """Two variants that scikit-posthocs finds p apart differ by the critical difference at level p."""
    posthocs = pytest.importorskip("scikit_posthocs")
    ranks = critical_difference(demsar).ranks
    level = posthocs.posthoc_nemenyi_friedman(demsar).loc[ranks.index[0], ranks.index[-1]]
    assert critical_difference(demsar, level).critical == pytest.approx(ranks.iloc[-1] - ranks.iloc[0], abs=1e-8)


def test_groups_are_maximal_and_of_neighbours():
    # Four blocks that agree in full: ranks 1..6, critical difference 2.850 * sqrt(42 / 24) = 3.77.
    scores = pd.DataFrame(np.tile(np.arange(6)[::-1], (4, 1)), columns=list("abcdef"))
    found = critical_difference(scores)
    assert found.critical == pytest.approx(3.77, abs=0.005)
    assert found.groups == [list("abcd"), list("bcde"), list("cdef")]


def test_variants_that_differ_stand_alone():
    scores = pd.DataFrame(np.tile([3, 2, 1], (40, 1)), columns=list("abc"))
    assert critical_difference(scores).groups == []


@pytest.mark.filterwarnings("error")
def test_all_tied():
    found = critical_difference(pd.DataFrame(np.ones((4, 3)), columns=list("abc")))
    assert found.friedman_p == 1
    assert (found.ranks == 2).all()
    assert found.groups == [list("abc")]


@pytest.mark.parametrize("shape", [(1, 3), (5, 2)])
def test_too_little_to_rank(shape):
    with pytest.raises(UserError, match=r"needs at least 3 variants over 2 blocks"):
        critical_difference(pd.DataFrame(np.ones(shape)))


def test_names_the_missing_score(demsar):
    demsar.loc[4, "C4.5+m"] = np.nan
    with pytest.raises(UserError, match=r"C4\.5\+m in block 4: run"):
        critical_difference(demsar)
