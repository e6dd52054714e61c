from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.metrics_schema import NAME, STARTED, by_current_name, identity, read_metrics, read_started

ROOT = Path(__file__).parents[2]
EARLIER = {  # (study, budget, a few options of the variant) by the folder of a record without these fields
    "experiments/baselines/resnet": (None, None, {"experiment": "equal_terms", "model": "resnet"}),
    "experiments/psysfa_net/ferplus_psysfa_net": (None, None, {"experiment": "psysfa"}),
    "tests/artifacts/v0.1/study/resnet_seed1": ("psysfa_table10", "smoke", {"baseline": "resnet"}),
    "tests/artifacts/v0.1/search/2": (None, None, {"data.batch_size": "6", "trial": "2"}),
}


@pytest.mark.parametrize("folder", EARLIER)
def test_records_of_earlier_versions_have_the_fields_of_today(folder):
    study, budget, options = EARLIER[folder]
    record = read_metrics(ROOT / folder / NAME)
    assert "variant" not in json.loads((ROOT / folder / NAME).read_text())
    assert (record["study"], record["budget"]) == (study, budget)
    assert options.items() <= record["variant"].items()
    assert not {"data", "data.root", "seed", "rival", "study"} & set(record["variant"])


def test_what_a_record_says_counts(tmp_path, write_record):
    write_record(tmp_path / "run", ["study=table6", "ablation=a"], 0, np.ones(200, bool))
    path = tmp_path / "run" / NAME
    stored = json.loads(path.read_text())
    assert read_metrics(path)["budget"] == "pilot"
    fields = {"study": "mine", "budget": "long", "variant": {"ablation": "b"}}
    path.write_text(json.dumps(stored | fields))
    assert read_metrics(path) == stored | fields


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"study": "../../etc/passwd"}, "study must be the name of a config, such as psysfa_table6; got '../../etc"),
        ({"study": "a,b"}, "study must be the name of a config"),
        ({"study": 7}, "study must be a valid string"),
        ({"budget": "pilot\nhydra.run.dir=/"}, "budget must be the name of a config"),
        ({"variant": ["ablation=a"]}, "variant must be a valid dictionary"),
        ({"variant": {"ablation": {"a": 1}}}, "variant.ablation must be a valid string"),
        ({"overrides": ["study=/etc/passwd"]}, "study must be the name of a config"),
        ({"overrides": ["study=a", "budget=../b"]}, "budget must be the name of a config"),
    ],
)
def test_hostile_fields(tmp_path, write_record, fields, problem):
    write_record(tmp_path / "run", [], 0, np.ones(200, bool))
    path = tmp_path / "run" / NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(UserError, match="is not a record of a run") as refused:
        read_metrics(path)
    assert problem in str(refused.value)


def test_what_a_run_says_when_it_starts(tmp_path):
    fields = {"overrides": ["study=a"], **identity(["study=a"])}
    (tmp_path / STARTED).write_text(json.dumps({**fields, "splits": {"test": {"accuracy": 1.0}}}))
    assert read_started(tmp_path) == fields
    for problem, text in (("study must be the name", json.dumps({**fields, "study": "../b"})), ("is damaged", "[]")):
        (tmp_path / STARTED).write_text(text)
        with pytest.raises(UserError, match=problem):
            read_started(tmp_path)


def test_a_budget_belongs_to_a_study():
    assert identity(["study=a"]) == {"study": "a", "budget": "pilot", "variant": {}}
    assert identity(["study=a"], "smoke")["budget"] == "smoke"
    assert identity(["study=a", "budget=paper"], "smoke")["budget"] == "paper"
    assert identity([], "smoke") == {"study": None, "budget": None, "variant": {}}


@pytest.mark.parametrize(
    "option",
    [
        "seed=3",
        "data=rafdb",
        "data.root=/data",
        "data.fold=3",
        "+data@elsewhere.ferplus=ferplus",
        "elsewhere.ferplus.root=/data",
        "hydra.run.dir=x",
        "hydra/launcher=ray",
        "logger=none",
        "logger.wandb.project=p",
    ],
)
def test_where_and_on_what_a_run_went_is_no_variant(option):
    assert identity(["model=vit", option])["variant"] == {"model": "vit"}


@pytest.mark.parametrize("option", ["budget=smoke", "trainer.devices=2", "data.align=true", "callbacks=ema"])
def test_what_changes_a_result_is_a_variant(option):
    key, _, value = option.partition("=")
    assert identity(["model=vit", option])["variant"] == {"model": "vit", key: value}


def test_the_last_of_two_counts():
    assert identity(["model=vit", "+model=resnet"])["variant"] == {"model": "resnet"}


@pytest.mark.parametrize(
    ("former", "current"),
    [
        ("rival=vit", "baseline=vit"),
        ("+rival=vit", "+baseline=vit"),
        ("study=hafem_rivals", "study=hafem_baselines"),
        ("hydra/sweeper=mboa", "hydra/sweeper=optuna"),
        ("hydra/sweeper/sampler=mboa", "hydra/sweeper/sampler=mboa"),
        ("study=hafem_rivals_of_mine", "study=hafem_rivals_of_mine"),
        ("model.rival=1", "model.rival=1"),
    ],
)
def test_options_of_earlier_versions(former, current):
    assert by_current_name(former) == by_current_name(current) == current
