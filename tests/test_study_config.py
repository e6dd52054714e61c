from __future__ import annotations

import pytest

from fer_lightning.cli import claims_dir, conf_dir
from fer_lightning.report.published import read_published
from fer_lightning.search.report import SearchDefinition, found_table
from fer_lightning.studies.definition import StudyDefinition
from fer_lightning.study_config import compose_study

OWN = """# @package _global_
hydra:
  mode: MULTIRUN
  sweep:
    dir: outputs/mine
  sweeper:
    params:
      seed: range(2)
      model: resnet
report:
  title: Mine, under ${budget}
"""


def test_the_grid_in_the_order_of_its_runs():
    study = compose_study("psysfa_table7", "smoke", None)
    assert study.budget == "smoke" and study.swept == ("seed", "ablation")
    variants = ["psysfa_band_low", "psysfa_band_high", "psysfa_band_low_mid", "psysfa_full", "psysfa_band_all"]
    assert study.grid == [(f"seed={seed}", f"ablation={name}") for seed in (0, 1) for name in variants]
    assert study.report is not None and study.report["table"] == "Table 7"
    assert study.folder == "psysfa_ablations_synthetic_smoke"


def test_a_search_has_no_grid():
    study = compose_study("psysfa_mboa", None, None)
    assert study.grid == [] and study.swept == () and study.budget == "pilot"


def test_studies_of_the_user(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text(OWN)
    study = compose_study("mine", None, tmp_path)
    assert study.grid == [("seed=0", "model=resnet"), ("seed=1", "model=resnet")]
    assert study.report == {"title": "Mine, under pilot"}


@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "study").glob("*.yaml")))
def test_every_study_can_be_reported(name):
    """Its rows and metrics are those of the published table that it names."""
    study = compose_study(name, "smoke", None)
    block = study.report
    if block is None:
        pytest.skip("a search that shows all that it searched")
    published = read_published(claims_dir() / block["paper"] / "published.csv") if block.get("table") else None
    if not study.grid:
        found_table({}, SearchDefinition.from_block(name, block), published)
        return
    definition = StudyDefinition.from_block(name, block)
    for metric in definition.metrics:
        definition.claims(published, metric)
