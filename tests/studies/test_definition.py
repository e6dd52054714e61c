from __future__ import annotations

import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.studies.comparison_table import ComparisonRow
from fer_lightning.studies.definition import ClassTable, FurtherTable, StudyDefinition

BLOCK = {
    "paper": "paper",
    "table": "Table 6",
    "title": "What each part contributes",
    "reference": "Full",
    "metrics": {"accuracy": "accuracy", "macro F1": "macro_f1"},
    "rows": {"Full": "full", "- fusion": "no_fusion"},
    "own_rows": {"- suppression": "no_suppression"},
}
PUBLISHED = pd.DataFrame(
    [
        ("Table 6", "Full", "accuracy", "not stated", 98.1, "%"),
        ("Table 6", "- fusion", "accuracy", "not stated", 96.6, "%"),
        ("Table 3", "Happy", "F1", "RAF-DB", 0.988, "ratio"),
        ("Table 3", "Overall", "accuracy", "RAF-DB", 98.1, "%"),
        ("abstract", "HAFEM", "accuracy", "FER2013", 94.7, "%"),
        ("abstract", "HAFEM", "accuracy", "RAF-DB", 95.1, "%"),
    ],
    columns=["table", "row", "metric", "dataset", "value", "unit"],
)


def definition(**changes: object) -> StudyDefinition:
    return StudyDefinition.from_block("study", {**BLOCK, **changes})


def test_rows_of_the_paper_come_first():
    study = definition()
    assert study.heading == "Table 6: What each part contributes"
    assert study.comparison_rows("macro_f1", "any") == [
        ComparisonRow("Full", "full", "macro_f1"),
        ComparisonRow("- fusion", "no_fusion", "macro_f1"),
        ComparisonRow("- suppression", "no_suppression", "macro_f1"),
    ]
    assert study.titles("any") == {"full": "Full", "no_fusion": "- fusion", "no_suppression": "- suppression"}
    assert study.claims(PUBLISHED, "accuracy") == {"Full": pytest.approx(0.981), "- fusion": pytest.approx(0.966)}


def test_a_study_without_a_published_table_claims_nothing():
    study = definition(table=None)
    assert study.heading == "What each part contributes"
    assert study.claims(None, "accuracy") == {} == study.claims(PUBLISHED, "accuracy")


def test_rows_that_the_paper_does_not_have_are_own_rows():
    with pytest.raises(UserError, match=r"Table 6 has no accuracy of - spectral; it has Full, - fusion.*own_rows"):
        definition(rows={"Full": "full", "- spectral": "b"}).claims(PUBLISHED, "accuracy")


def test_one_net_on_several_data_sets():
    study = definition(
        table="abstract",
        per_dataset="HAFEM",
        reference=None,
        rows={"FER2013": "fer2013", "RAF-DB": "rafdb"},
        own_rows={},
    )
    assert study.titles("hafem_lite") == {"hafem_lite": "HAFEM"}
    assert study.comparison_rows("accuracy", "hafem_lite") == [
        ComparisonRow("FER2013", "hafem_lite", "accuracy", "fer2013"),
        ComparisonRow("RAF-DB", "hafem_lite", "accuracy", "rafdb"),
    ]
    assert study.claims(PUBLISHED, "accuracy") == {"FER2013": pytest.approx(0.947), "RAF-DB": pytest.approx(0.951)}


def test_classes_of_one_net():
    study = definition(
        table="Table 3",
        reference=None,
        metrics={"accuracy": "accuracy"},
        rows={"Overall": "full"},
        own_rows={},
        per_class={"metrics": {"F1": "f1"}, "rows": {"Happy": "happy"}},
    )
    assert study.per_class == ClassTable({"F1": "f1"}, {"Happy": "happy"})
    assert study.class_rows("f1") == [ComparisonRow("Happy", "full", "f1/happy")]
    assert study.claims(PUBLISHED, "F1") == {"Happy": 0.988}
    assert study.claims(PUBLISHED, "accuracy") == {"Overall": pytest.approx(0.981)}


def test_further_tables_are_read():
    table = {"table": "Table 11", "columns": {"accuracy": "mean"}, "rows": {"Full": "full"}}
    assert definition(also=[table]).also == (FurtherTable("Table 11", {"accuracy": "mean"}, {"Full": "full"}),)


def test_a_further_table_has_the_rows_of_the_study_under_its_own_titles():
    table = {"table": "Table 12", "columns": {"p-value": "p_holm"}, "titles": {"- fusion": "no fusion", "Full": None}}
    assert definition(also=[table]).also == (
        FurtherTable("Table 12", {"p-value": "p_holm"}, {"no fusion": "no_fusion"}),
    )
    without = {key: value for key, value in table.items() if key != "titles"}
    assert definition(also=[without]).also[0].rows == {"Full": "full", "- fusion": "no_fusion"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"refrence": "Full"}, "cannot be read: StudyDefinition does not know 'refrence'"),
        ({"rows": ["full"]}, "cannot be read: 'list' object is not a mapping"),
        ({"reference": "Fulll"}, "must be one of its rows; got 'Fulll'"),
        ({"metrics": {}}, "must have metrics and rows"),
        ({"rows": {}, "own_rows": {}, "reference": None}, "must have metrics and rows"),
        ({"per_dataset": "HAFEM"}, "per_dataset allows neither own_rows nor"),
        ({"per_class": {"metrics": {}, "rows": {}}}, "with per_class, rows must hold one row"),
        ({"per_class": {"scores": {}}}, "does not know 'scores'"),
        (
            {"also": [{"table": "Table 12", "titles": {"Ful": "F"}}]},
            "the titles of Table 12 must be for rows of the study; got Ful",
        ),
    ],
)
def test_what_is_wrong_is_told(changes, told):
    with pytest.raises(UserError, match=told):
        definition(**changes)


def test_what_is_missing_is_told():
    with pytest.raises(UserError, match=r"study=study cannot be read: .*'title'"):
        StudyDefinition.from_block("study", {"metrics": {"accuracy": "accuracy"}})
