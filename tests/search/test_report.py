from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.search.report import SearchDefinition, best_table, write_search

PUBLISHED = pd.DataFrame(
    [
        ("Table 2", "Learning Rate", "lower bound", "not stated", 0.00001, ""),
        ("Table 2", "Learning Rate", "optimized value", "not stated", 0.0084, ""),
        ("Table 2", "Batch Size", "lower bound", "not stated", 8, ""),
        ("Table 2", "Batch Size", "optimized value", "not stated", 18, ""),
    ],
    columns=["table", "row", "metric", "dataset", "value", "unit"],
)
DEFINITION = SearchDefinition(
    "Search", {"Learning Rate": "optimizer.lr", "Batch Size": "data.batch_size"}, "paper", "Table 2"
)
FOUND = {"optimizer.lr": 0.00117584, "data.batch_size": 45, "model.dropout": 0.3}


def make_search(folder: Path, best: object = None) -> Path:
    (folder / "figures").mkdir(parents=True)
    for name in ("importances.png", "fitness.png"):
        (folder / "figures" / name).write_bytes(name.encode())
    (folder / "trials.csv").write_text("number,state,value\n0,complete,1.5\n")
    report = {
        "objective": "val/loss",
        "direction": "minimize",
        "trials": {"complete": 23, "fail": 1},
        "best": best,
        "sampler": {"_target_": "fer_lightning.search.mboa.MBOASampler"},
    }
    (folder / "best.json").write_text(json.dumps(report))
    return folder


BEST = {"trial": 9, "value": 1.63011, "parameters": FOUND, "folder": "/somewhere/9"}


def test_what_was_found_beside_what_was_published():
    table = best_table(FOUND, DEFINITION, PUBLISHED)
    assert table.to_dict("records") == [
        {
            "parameter": "Learning Rate",
            "option": "optimizer.lr",
            "published lower bound": "1e-05",
            "published optimized value": "0.0084",
            "found here": "0.001176",
        },
        {
            "parameter": "Batch Size",
            "option": "data.batch_size",
            "published lower bound": "8",
            "published optimized value": "18",
            "found here": "45",
        },
    ]


def test_a_search_of_no_paper_shows_all_that_it_searched():
    table = best_table(FOUND, SearchDefinition("Search", {}), None)
    assert table["parameter"].tolist() == list(FOUND) and list(table) == ["parameter", "found here"]


def test_the_files(tmp_path):
    files = write_search(make_search(tmp_path / "search", BEST), DEFINITION, PUBLISHED, tmp_path / "to")
    assert [path.name for path in files] == ["table.md", "trials.csv", "fitness.png", "importances.png"]
    text = files[0].read_text()
    for part in ("## Table 2: Search", "23 complete, 1 fail", "MBOASampler", "trial 9, val/loss 1.6301", "0.001176"):
        assert part in text
    assert "/somewhere" not in text and "](fitness.png)" in text


def test_a_search_that_is_not_over(tmp_path):
    (tmp_path / "best.json").write_text("{}")
    with pytest.raises(UserError, match="is not finished: repeat its command"):
        write_search(tmp_path, DEFINITION, None, tmp_path / "to")


def test_a_search_without_a_result(tmp_path):
    with pytest.raises(UserError, match=r"no trial of the search in .* is complete"):
        write_search(make_search(tmp_path / "search"), DEFINITION, None, tmp_path / "to")


def test_a_row_that_the_paper_does_not_have():
    with pytest.raises(UserError, match="Table 2 has no row 'Rate': it has Learning Rate, Batch Size"):
        best_table(FOUND, SearchDefinition("Search", {"Rate": "optimizer.lr"}, "paper", "Table 2"), PUBLISHED)


@pytest.mark.parametrize("block", [{"title": "Search"}, {"title": "Search", "parameters": {}, "metrics": {}}])
def test_a_block_that_is_not_of_a_search(block):
    with pytest.raises(UserError, match="search study=mine must have title and parameters"):
        SearchDefinition.from_block("mine", block)
