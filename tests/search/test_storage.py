from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from fer_lightning.errors import UserError
from fer_lightning.search.storage import open_storage, population_of, remember

SPACE = {"lr": FloatDistribution(1e-5, 1e-2, log=True)}
FIXED = ("model=resnet", "seed=1")
SAMPLER = {"_target_": "a.Sampler", "seed": 0, "population": 8, "n_trials": 60}
PRUNER = {"_target_": "a.Pruner"}


def test_without_a_place_the_trials_lie_in_the_folder(tmp_path):
    optuna.create_study(storage=open_storage(None, tmp_path), study_name="s")
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path / 'study.db'}") == ["s"]


def test_a_path_is_a_journal_file(tmp_path):
    path = tmp_path / "new" / "search.log"
    optuna.create_study(storage=open_storage(str(path), tmp_path), study_name="s").ask()
    again = optuna.load_study(study_name="s", storage=open_storage(str(path), tmp_path))
    assert len(again.trials) == 1 and path.is_file()
    assert not (tmp_path / "study.db").exists()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("postgresql://me:secret@127.0.0.1:1/search", "cannot be reached"),
        ("oracel://me:secret@host/search", "must be a storage that can be opened"),
    ],
)
def test_a_database_that_is_not_there_is_named_without_its_password(place, told, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UserError, match=f"^hydra.sweeper.storage=.*{told}") as raised:
        open_storage(place, tmp_path)
    assert "secret" not in str(raised.value) and "\n" not in str(raised.value)
    assert place.partition("@")[2] in str(raised.value)


def test_messages_name_what_was_typed(tmp_path):
    with pytest.raises(UserError, match=r"^--storage oracel://host/search must be a storage that can be opened here"):
        open_storage("oracel://host/search", tmp_path, option="--storage ")


OPEN = """
import sys
from pathlib import Path
from fer_lightning.search.storage import open_storage
import optuna
study = optuna.create_study(
    storage=open_storage(None, Path(sys.argv[1])), study_name="s", load_if_exists=True)
for _ in range(5):
    study.tell(study.ask(), 1.0)
"""


def test_processes_that_start_together_share_one_file(tmp_path: Path):
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    trials = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}").trials
    assert [trial.number for trial in trials] == list(range(10))


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(study_name="mine", direction="minimize")
    remember(study, "minimize", SPACE, FIXED, SAMPLER, PRUNER)
    study.add_trial(optuna.trial.create_trial(value=1.0, params={"lr": 1e-3}, distributions=SPACE))
    return study


def test_the_same_search_goes_on(study):
    remember(study, "minimize", dict(SPACE), tuple(reversed(FIXED)), {**SAMPLER, "n_trials": 90}, PRUNER)
    assert population_of(study) == 8


@pytest.mark.parametrize(
    ("direction", "space", "fixed", "sampler", "told"),
    [
        ("maximize", SPACE, FIXED, SAMPLER, "minimize"),
        ("minimize", {"lr": FloatDistribution(1e-5, 1e-1, log=True)}, FIXED, SAMPLER, "searches lr in other ranges"),
        ("minimize", {**SPACE, "size": IntDistribution(1, 2)}, FIXED, SAMPLER, "searches lr in other ranges"),
        ("minimize", SPACE, ("model=vit", "seed=1"), SAMPLER, "share model=resnet seed=1"),
        ("minimize", SPACE, ("model=resnet",), SAMPLER, "share model=resnet seed=1"),
        ("minimize", SPACE, FIXED, {**SAMPLER, "seed": 1}, "its sampler has seed=0"),
        ("minimize", SPACE, FIXED, {"_target_": "b.Sampler", "seed": 0, "population": 8}, "_target_=a.Sampler"),
    ],
)
def test_another_search_is_refused(study, direction, space, fixed, sampler, told):
    with pytest.raises(UserError, match=f"the search mine exists already.*{told}"):
        remember(study, direction, space, fixed, sampler, PRUNER)


def test_a_new_search_has_no_population_yet():
    assert population_of(optuna.create_study()) is None


def test_another_pruner_is_refused(study):
    with pytest.raises(UserError, match=r"its pruner has _target_=a\.Pruner"):
        remember(study, "minimize", SPACE, FIXED, SAMPLER, {"_target_": "b.Pruner"})


def test_what_only_the_new_sampler_has_is_named(study):
    with pytest.raises(UserError, match="its sampler has gamma=None"):
        remember(study, "minimize", SPACE, FIXED, {**SAMPLER, "gamma": 1}, PRUNER)


def test_a_first_command_that_found_nothing_may_be_mended():
    study = optuna.create_study()
    remember(study, "minimize", SPACE, ("data.root=/wrong",), SAMPLER, PRUNER)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    remember(study, "minimize", SPACE, ("data.root=/right",), SAMPLER, PRUNER)
    assert study.user_attrs["fixed"] == ["data.root=/right"]


def test_a_search_of_version_0_1_goes_on_with_its_sampler():
    study = optuna.create_study(study_name="mine", direction="minimize")
    former, present = (f"fer_lightning.search.{module}.RepeatableSampler" for module in ("repeatable", "resumable"))
    remember(study, "minimize", SPACE, FIXED, {"_target_": former, "seed": 0}, PRUNER)
    study.add_trial(optuna.trial.create_trial(value=1.0, params={"lr": 1e-3}, distributions=SPACE))
    remember(study, "minimize", SPACE, FIXED, {"_target_": present, "seed": 0}, PRUNER)
    assert study.user_attrs["sampler"]["_target_"] == present
    with pytest.raises(UserError, match="its sampler has seed=0"):
        remember(study, "minimize", SPACE, FIXED, {"_target_": present, "seed": 1}, PRUNER)
