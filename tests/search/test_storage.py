from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from fer_lightning.errors import UserError
from fer_lightning.search.storage import open_storage


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
        ("oracel://me:secret@host/search", "no storage that can be opened"),
    ],
)
def test_a_database_that_is_not_there_is_named_without_its_password(place, told, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UserError, match=f"^hydra.sweeper.storage=.*{told}") as raised:
        open_storage(place, tmp_path)
    assert "secret" not in str(raised.value) and "\n" not in str(raised.value)
    assert place.partition("@")[2] in str(raised.value)


def test_messages_name_what_was_typed(tmp_path):
    with pytest.raises(UserError, match=r"^--storage oracel://host/search is no storage"):
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
