from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fer_lightning.studies.comparison_table import COLUMNS
from fer_lightning.studies.page import embed_figure, study_page, write_page
from fer_lightning.studies.presentation import present_comparison

EMPTY = {"meta", "link", "img", "rect", "line", "path"}


class Reader(HTMLParser):
    """Collects the text and the tags of a page and refuses tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def path(study_report, tmp_path_factory) -> Path:
    return write_page(study_report, tmp_path_factory.mktemp("report") / "new")


@pytest.fixture(scope="module")
def page(path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reader(page) -> Reader:
    reader = Reader(page)
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    "told",
    [
        "Table 6: <i>components</i>",
        "Published for “Full <b>&\"'”, as a claim: 94.06 %. Measured here on fer2013: 49.3 % ± 1.2 over 3 seeds.",
        "Of 2 claimed differences to it, 1 is confirmed (Holm p < 0.05) and 1 was not run.",
        "fer2013 & friends",
        "49.3 % ± 1.2 [46.2, 52.4]",
        "−8.3 [−10.0, −6.6]",
        "all rows: −8.3 [−9.5, −7.1]",
        "0.002 all rows: 0.004",
        "(0.05 / 1) would miss a true difference below 1.5 points with 3 seeds",
        "73.3 % to 76.8 % annotator agreement 63.0 %",
        "1 of its runs has no record yet",
        "ablation=no_search seed=0",
        "The same for macro F1",
        "Every run of every seed (3)",
        "full 0 49.0 % 1,234,567 124 inf 1",
        "full 1 50.0 % 1,234,567 124 inf 2",
        "no_fusion 0 - 1,234,567 124 inf -",
        "Full 94.1 % ± 0.3",
        "fer train study=table_6 'data.root=<folder>'",
        "The paper claims",
    ],
)
def test_says(reader, told):
    assert told in reader.text.replace("\u00a0", " ")


def test_needs_nothing_else(page):
    assert not re.search(r"https?://|url\(|@import|<script src", page)
    assert set(re.findall(r'(?:src|href)="([^"]{0,6})', page)) == {"data:,", "data:i", "#unfin"}


def test_is_the_same_for_the_same(study_report, page):
    assert study_page(study_report) == page


def test_pictures_have_their_captions_as_words(reader):
    (picture,) = reader.all("img")
    assert picture["alt"] == "Scores < 1 & more."


def test_headings_of_tables_say_what_they_head(reader):
    assert {heading["scope"] for heading in reader.all("th")} == {"col", "colgroup", "row"}
    assert len(reader.all("table")) == len(reader.all("caption")) == 4


def test_a_row_that_was_not_run_is_marked(reader):
    assert [row.get("class") for row in reader.all("tr") if "role" in row][2:5] == ["reference", None, "not-run"]


def test_numbers_can_be_sorted_by(reader):
    cells = [cell for cell in reader.all("td") if cell.get("data-label") == "measured"]
    assert [cell["data-order"] for cell in cells[:3]] == ["0.493", "0.41", ""]


def test_every_cell_has_a_heading_to_sort_by(page):
    table = page[page.index('<table class="ledger') : page.index("</table>")]
    columns = sorted(map(int, re.findall(r'data-column="(\d+)"', table)))
    for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)[2:]:
        assert columns == [*range(len(re.findall("<t[hd] ", row)))]


def test_a_table_without_a_reference_has_no_tests(study_report):
    comparisons = {"recall": present_comparison(study_report.comparisons["accuracy"].table.iloc[1:], None)}
    told = Reader(study_page(replace(study_report, comparisons=comparisons, figures={}))).text
    assert "p (Holm)" not in told and "Of 2 published numbers, 1 was measured here" in told


def test_is_written_whole(path):
    assert list(path.parent.iterdir()) == [path]


def test_images_of_a_class_are_a_count_where_other_data_lack_the_class(study_report):
    runs = study_report.runs.assign(**{"support/contempt": [54.0, 54.0, None]})
    told = Reader(study_page(replace(study_report, runs=runs))).text
    assert "124 inf 1 54" in told and "5400" not in told and "5,400" not in told


def test_a_browser_shows_and_sorts_it(open_browser, path):
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        asked, told = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(path.as_uri())
        comparison = page.locator("table.ledger").first
        names = comparison.locator("tbody th")
        assert comparison.get_by_text("not run").first.is_visible()
        drawn = page.locator("figure img")
        assert drawn.evaluate("image => image.complete && image.naturalWidth > 0")
        heading = comparison.get_by_role("button", name="accuracy ± sd")
        heading.click()
        assert names.all_inner_texts() == ["No fusion", "Full <b>&\"'", "No search"]
        heading.click()
        assert names.all_inner_texts() == ["Full <b>&\"'", "No fusion", "No search"]
        assert comparison.locator('th[aria-sort="descending"]').count() == 1
        page.get_by_role("link", name="which").click()
        assert page.get_by_text("ablation=no_search seed=0").is_visible()
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert comparison.get_by_text("not run").first.is_visible()
    assert told == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def bars(study_report, *rows: dict[str, object]) -> tuple[list[tuple[str, str]], str]:
    """Class and place of every part of the bars of a page with one comparison of two rows, and its text."""
    full = {"row": "Full", "published": 0.98, "mean": 0.5, "sd": 0.02, "low": 0.4, "high": 0.6, "n_seeds": 3}
    comparison = present_comparison(pd.DataFrame([full, *rows]).reindex(columns=list(COLUMNS)), "Full")
    reader = Reader(study_page(replace(study_report, comparisons={"accuracy": comparison}, figures={})))
    parts = [(tag, dict(attributes)) for tag, attributes in reader.tags if tag in ("rect", "line", "svg")]
    shown = [(part.get("class"), part.get("x", part.get("x1"))) for _, part in parts if "track" not in part.values()]
    return [(str(kind), str(place)) for kind, place in shown], reader.text


def other(difference: float, low: float, high: float, claimed: float) -> dict[str, object]:
    claim = {"row": "No fusion", "n_seeds": 3, "published_difference": claimed}
    return claim | {"difference": difference, "difference_low": low, "difference_high": high}


def test_scores_lie_between_0_and_100(study_report):
    best = {"credible_low": 0.733, "credible_high": 0.768, "annotator_agreement": 0.64}
    shown, _ = bars(study_report, {"row": "Far", "n_seeds": 0, **best})
    assert shown == [
        ("bar score", "None"),
        ("value", "0.0%"),
        ("interval", "40.0%"),
        ("interval", "40.0%"),
        ("interval", "60.0%"),
        ("None", "98.0%"),
        ("bar score", "None"),
        ("band", "73.3%"),
        ("agreement", "64.0%"),
    ]


def test_differences_share_a_scale_around_0(study_report):
    shown, _ = bars(study_report, other(0.02, 0.01, 0.03, -0.015))
    ends = [float(place.rstrip("%")) for _, place in shown[shown.index(("bar difference", "None")) + 1 :]]
    at = [50 * (1 + each / (1.05 * 0.03)) for each in (0, 0, 0.01, 0.01, 0.03, -0.015)]
    assert ends == pytest.approx(at, abs=0.01)


def test_a_huge_interval_runs_out_of_its_bar_instead_of_hiding_the_rest(study_report):
    shown, text = bars(study_report, other(0.02, -0.5, 0.54, 0.01))
    ends = [float(place.rstrip("%")) for kind, place in shown if kind == "interval"][-2:]
    assert ends[0] < 0 and ends[1] > 100
    assert "differences from −4.2 to +4.2 points" in text


def drawn(points: int) -> Figure:
    figure = Figure(figsize=(4, 3))
    rng = np.random.default_rng(0)
    figure.subplots().scatter(*rng.random((2, points)), c=rng.random(points))
    return figure


def content(address: str, kind: str) -> bytes:
    start = f"data:{kind};base64,"
    assert address.startswith(start)
    return base64.b64decode(address.removeprefix(start))


def test_a_small_figure_is_a_drawing():
    root = ElementTree.fromstring(content(embed_figure(drawn(5)), "image/svg+xml"))
    assert root.tag.endswith("svg") and (root.get("width"), root.get("height")) == ("288pt", "216pt")


def test_a_figure_with_many_points_is_an_image():
    assert Image.open(io.BytesIO(content(embed_figure(drawn(2000)), "image/png"))).size == (600, 450)


def test_the_same_figure_is_the_same_text():
    assert embed_figure(drawn(5)) == embed_figure(drawn(5))
