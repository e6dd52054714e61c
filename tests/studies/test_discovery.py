from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_lightning.errors import UserError
from fer_lightning.results.metrics_schema import identity
from fer_lightning.studies.discovery import StudyRuns, find_studies

COMMON = ("budget=pilot", "data=fer2013", "data.root=/some/where", "logger=none", "trainer.max_epochs=2")


@pytest.fixture
def write(write_record) -> Callable[..., None]:
    """Writes the record of a run with seed 0 and these overrides."""
    return lambda folder, *overrides: write_record(folder, overrides, 0, np.ones(200, bool))


def found(*overrides: tuple[str, ...]) -> StudyRuns:
    runs = {Path(str(i)): {"overrides": each, **identity(["study=table6", *each])} for i, each in enumerate(overrides)}
    return StudyRuns("table6", Path("here"), runs, runs)


def test_several_studies_share_a_folder(tmp_path, write):
    write(tmp_path / "shared" / "a_seed0", "study=table6", "ablation=a")
    write(tmp_path / "shared" / "b_seed0", "study=table7", "ablation=b")
    write(tmp_path / "other" / "c", "study=table6", "ablation=c")
    write(tmp_path / "plain" / "d", "model=resnet")
    studies = {(study.folder.name, study.name): study for study in find_studies(tmp_path)}
    assert set(studies) == {("shared", "table6"), ("shared", "table7"), ("other", "table6"), ("plain", None)}
    shared = tmp_path / "shared"
    assert list(studies["shared", "table6"].runs) == [shared / "a_seed0"]
    assert list(studies["shared", "table6"].beside) == [shared / "a_seed0", shared / "b_seed0"]
    assert not any(study.searched for study in studies.values())


def test_a_search_is_known_by_its_files(tmp_path, write):
    write(tmp_path / "search" / "0", "study=mboa", "optimizer.lr=0.1")
    (tmp_path / "search" / "best.json").touch()
    (study,) = find_studies(tmp_path)
    assert study.searched and study.folder == tmp_path / "search"


def test_a_record_says_its_study_whatever_was_typed(tmp_path, write):
    write(tmp_path / "a", "study=table6", "ablation=a")
    path = tmp_path / "a" / "metrics.json"
    fields = {"study": "table7", "budget": "smoke", "variant": {"experiment": "hafem"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    (study,) = find_studies(tmp_path)
    assert (study.name, study.budget, study.experiment) == ("table7", "smoke", "hafem")


def test_one_run_is_a_folder_of_runs(tmp_path, write):
    write(tmp_path / "run", "study=table6")
    (study,) = find_studies(tmp_path / "run")
    assert study.folder == tmp_path / "run"


def test_the_command_is_what_all_runs_share_without_paths():
    runs = [(f"seed={seed}", f"ablation={name}", "study=table6", *COMMON) for seed in (0, 1) for name in ("a", "b")]
    command = found(*runs).command(swept=("seed", "ablation"))
    assert command == "fer train study=table6 budget=pilot data=fer2013 data.root=... trainer.max_epochs=2"


def test_a_row_that_is_alone_so_far_is_not_in_the_command():
    command = found(("seed=0", "ablation=a", "study=table6")).command(swept=("seed", "ablation"))
    assert command == "fer train study=table6 budget=pilot"


def test_the_recipe_that_was_typed():
    assert found(("experiment=hafem",), ("experiment=hafem", "seed=1")).experiment == "hafem"
    assert found(("experiment=hafem",), ()).experiment is None
    assert found(()).experiment is None


def test_budgets_do_not_mix():
    assert found(("budget=smoke",), ("budget=smoke",)).budget == "smoke"
    assert found((), ("budget=pilot",)).budget == "pilot"  # the default
    with pytest.raises(UserError, match="study=table6 with budget=pilot and budget=smoke"):
        _ = found(("budget=smoke",), ()).budget
