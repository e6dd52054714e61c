from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fer_lightning.studies.page import study_page, write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
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


def test_a_table_without_a_reference_has_no_tests(study_report):
    ledgers = {"recall": study_report.ledgers["accuracy"].iloc[1:]}
    told = Reader(study_page(replace(study_report, ledgers=ledgers, figures={}))).text
    assert "p (Holm)" not in told and "Of 2 published numbers, 1 was measured here" in told


def test_is_written_whole(path):
    assert list(path.parent.iterdir()) == [path]


def test_images_of_a_class_are_a_count_where_other_data_lack_the_class(study_report):
    runs = study_report.runs.assign(**{"support/contempt": [54.0, 54.0, None]})
    told = Reader(study_page(replace(study_report, runs=runs))).text
    assert "124 inf 1 54" in told and "5400" not in told and "5,400" not in told


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium or Chrome: apt-get install chromium")
def test_a_browser_shows_and_sorts_it(path):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        asked, told = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(path.as_uri())
        ledger = page.locator("table.ledger").first
        names = ledger.locator("tbody th")
        assert ledger.get_by_text("not run").first.is_visible()
        drawn = page.locator("figure img")
        assert drawn.evaluate("image => image.complete && image.naturalWidth > 0")
        heading = ledger.get_by_role("button", name="accuracy ± sd")
        heading.click()
        assert names.all_inner_texts() == ["No fusion", "Full <b>&\"'", "No search"]
        heading.click()
        assert names.all_inner_texts() == ["Full <b>&\"'", "No fusion", "No search"]
        assert ledger.locator('th[aria-sort="descending"]').count() == 1
        page.get_by_role("link", name="which").click()
        assert page.get_by_text("ablation=no_search seed=0").is_visible()
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert ledger.get_by_text("not run").first.is_visible()
        browser.close()
    assert told == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
