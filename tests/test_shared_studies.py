from __future__ import annotations

from pathlib import Path

from fer_lightning.studies.discovery import FoundStudy
from fer_lightning.shared_studies import find_shared_studies
from fer_lightning.study_config import compose_study


def runs_of_table_6(folder: Path, seeds: int) -> FoundStudy:
    options = [(f"seed={seed}", "ablation=psysfa_full", "study=psysfa_table6", "budget=smoke") for seed in range(seeds)]
    return FoundStudy("psysfa_table6", folder, tuple(options), searched=False)


def test_table_4_is_the_full_net_of_table_6():
    folder = Path("outputs/psysfa_ablations_fer2013_smoke")
    found = runs_of_table_6(folder, seeds=2)
    (shared,) = find_shared_studies([found])
    assert (shared.name, shared.folder, shared.overrides) == ("psysfa_table4", folder, found.overrides)
    assert shared.budget == "smoke"


def test_data_that_was_typed_are_those_of_a_study_that_leaves_them_open():
    folder = Path("outputs/psysfa_rivals_rafdb_smoke")
    baselines = compose_study("hafem_baselines", "smoke", None).grid
    runs = tuple((*run, "study=hafem_baselines", "budget=smoke", "data=rafdb") for run in baselines)
    (shared,) = find_shared_studies([FoundStudy("hafem_baselines", folder, runs, searched=False)])
    assert shared.name == "psysfa_table10" and shared.command(("seed", "baseline")).endswith("budget=smoke data=rafdb")


def test_studies_of_other_folders_or_with_open_runs_are_not():
    folders = {"psysfa_ablations_fer2013_smoke": 1, "psysfa_ablations_synthetic_smoke": 2, "elsewhere": 2}
    assert find_shared_studies([runs_of_table_6(Path(folder), seeds) for folder, seeds in folders.items()]) == []


def test_what_runs_name_is_not_found_again():
    found = runs_of_table_6(Path("psysfa_ablations_fer2013_smoke"), seeds=2)
    named = FoundStudy("psysfa_table4", found.folder, found.overrides[:1], searched=False)
    assert find_shared_studies([found, named]) == []


def test_searches_and_mixed_budgets_share_nothing():
    folder = Path("psysfa_ablations_fer2013_smoke")
    found = runs_of_table_6(folder, seeds=2)
    other = FoundStudy("psysfa_table7", folder, (("study=psysfa_table7", "budget=pilot"),), searched=False)
    searched = FoundStudy("psysfa_mboa", Path("a"), ((),), searched=True)
    assert find_shared_studies([found, other, searched]) == []
