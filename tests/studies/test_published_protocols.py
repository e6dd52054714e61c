from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest

from fer_lightning.commands import report
from fer_lightning.errors import UserError
from fer_lightning.studies.page import NAME
from fer_lightning.studies.published_protocols import PROTOCOLS, draw_claims, read_protocols, verdict

AUDIT = Path(__file__).parents[2] / "experiments" / "published_protocols"
ROW = {
    **{"work": "Net & <b>", "repository": "someone/net", "commit": "0123456789", "dataset": "FER2013"},
    **{"split": "PublicTest", "claim": 73.28, "claimed_at": "README.md:9; a list", "net": "one net"},
    **{"selected_on": "another split", "selection": "best epoch on PrivateTest", "selection_at": "src++/train.py:55"},
    **{"test_time": "ten crops", "extra_data": "none", "reported_low": 65.0, "reported_high": 72.28},
    **{"reports": "less", "threads": "someone/net#7; someone/net#9"},
}
ON_TEST = {**ROW, "work": "Other", "split": "PrivateTest", "claim": 74, "selected_on": "the test images"}
ON_TEST |= {"repository": "other/net"}
ON_TEST |= {"extra_data": "ImageNet-1k", "reported_low": None, "reported_high": None, "reports": "", "threads": ""}


@pytest.fixture
def folder(tmp_path) -> Path:
    pd.DataFrame([ROW, ON_TEST, {**ROW, "claim": None, "repository": "third/net"}]).to_csv(
        tmp_path / PROTOCOLS, index=False
    )
    return tmp_path


def test_claims_are_counted(folder):
    protocols = read_protocols(folder / PROTOCOLS)
    assert protocols["claim"].dropna().tolist() == pytest.approx([0.7328, 0.74])
    assert verdict(protocols) == [
        "Of 2 accuracies, claimed by 2 repositories, 1 were selected on the images that they are scored on.",
        "Users report numbers for 1 of them: the highest is below the claim for 1, by 1.0 points in the median.",
    ]


def test_each_claim_is_a_mark_of_what_it_was_selected_on(folder):
    figure = draw_claims(read_protocols(folder / PROTOCOLS))
    figure.draw_without_rendering()
    (panel,) = figure.axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["Net & <b>, PublicTest", "Other, PrivateTest (ImageNet-1k)"]
    marks = {line.get_marker(): line.get_xdata()[0] for line in panel.lines if line.get_marker() != "|"}
    assert marks == pytest.approx({"o": 0.7328, "D": 0.74})
    reported = [line.get_xdata() for line in panel.lines if line.get_marker() == "|"]
    assert reported[0] == pytest.approx([0.65, 0.7228])


def test_the_page_links_every_file_and_thread(folder, capsys):
    report.main([str(folder)])
    assert "Protocols of published code: " in capsys.readouterr().out
    page = (folder / NAME).read_text(encoding="utf-8")
    assert "Net &amp; &lt;b&gt;" in page and "73.28 %" in page
    assert (
        '<a href="https://github.com/someone/net/blob/0123456789/src%2B%2B/train.py#L55">src++/train.py:55</a>' in page
    )
    assert '<a href="https://github.com/someone/net/issues/9">net#9</a>' in page
    assert '<a href="https://github.com/someone/net/tree/0123456789">someone/net at 0123456</a>' in page
    assert ", \na list" in page  # text, no link
    assert matplotlib.image.imread(folder / "claims.png").std() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"selected_on": "luck"}, "selected_on must be one of another split, .*; got 'luck'"),
        ({"claim": "much"}, "claim must be a percentage or empty"),
        ({"claim": 173}, "claim must be a percentage or empty"),
        ({"stars": 5}, "must have the columns work, repository, .*; got work, .*stars"),
    ],
)
def test_another_table_is_refused(tmp_path, change, message):
    pd.DataFrame([{**ROW, **change}]).to_csv(tmp_path / PROTOCOLS, index=False)
    with pytest.raises(UserError, match=message):
        report.main([str(tmp_path)])


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / PROTOCOLS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"protocols\.csv must be a CSV file in UTF-8"):
        report.main([str(tmp_path)])


def test_the_audit_names_a_place_for_everything():
    audit = read_protocols(AUDIT / PROTOCOLS)
    assert audit["commit"].str.fullmatch("[0-9a-f]{40}").all()
    assert (audit[["claimed_at", "selection", "selection_at", "test_time", "extra_data"]] != "").all(axis=None)
    assert audit.loc[audit["reports"] != "", "threads"].ne("").all()
    assert not audit.duplicated(["work", "dataset", "split"]).any()
    claims = len(audit[audit["claim"].notna()])
    counts = f"Of {claims} claimed accuracies, {int((audit['selected_on'] == 'the test images').sum()) - 1} were"
    assert counts in (AUDIT / "README.md").read_text(encoding="utf-8")  # one of them claims nothing
