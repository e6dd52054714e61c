from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from fer_lightning.files import conf_dir
from hydra_plugins.fer_sweeper.experiment_file import write_experiment

GROUPS = {path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*") if path.is_dir()}


def composed(overrides: list[str], searchpath: Path | None = None) -> DictConfig:
    more = [f"hydra.searchpath=[file://{searchpath}]"] if searchpath else []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", [*more, *overrides, "output_dir=run"])


def written(folder: Path, fixed: list[str], found: list[str], *config_dirs: Path) -> Path:
    path = folder / "conf" / "experiment" / "best.yaml"
    write_experiment(path, fixed, found, GROUPS.__contains__, ["Trial 17 of sweep x: val/loss 1.0432"], config_dirs)
    return path


@pytest.mark.parametrize(
    "fixed, found",
    [
        ([], ["optimizer.lr=0.00123"]),
        (["model=resnet", "data=fer2013", "data.root=/faces"], ["optimizer.lr=1.5e-05", "data.batch_size=18"]),
        (["callbacks=[progress,ema]", "logger=none"], ["optimizer=sgd", "model=vit"]),
        (["callbacks=[]", "model=resnet", "model.widths=[8,8,8,8]", "~scheduler"], ["data.mean=[0.2]"]),
        (["experiment=psysfa"], ["optimizer.lr=0.5", "data.batch_size=3"]),
        (["experiment=psysfa", "model=resnet"], ["optimizer=sgd"]),
        (["experiment=hafem", "ablation=psysfa_no_fusion", "model=psysfa_net"], ["model.fusion=sum"]),
        ([], ["experiment=hafem_lite", "ablation=psysfa_no_fusion"]),
        (["study=psysfa_mboa", "budget=smoke"], ["optimizer.lr=0.001", "model.dropout=0.25"]),
        (["study=psysfa_mboa", "experiment=resnet"], ["selection.monitor=val/accuracy", "selection.mode=max"]),
        (["+note='1e-3'", "+deep.a.b=[1,'2',{c: x y}]", "++data.extra=null"], ["seed=7"]),
        (["+note='it\\'s: #1, ${seed}'", "data.root='a b'", "trainer={max_epochs: 3}"], ["data.mean=[0.1, 0.2]"]),
        (["seed=1", "optimizer.lr=1"], ["optimizer.lr=0.1", "optimizer.weight_decay=1e-10"]),
        (["+model@second=vit"], ["second.depth=3"]),
    ],
)
def test_composes_what_the_overrides_compose(tmp_path, fixed, found):
    path = written(tmp_path, fixed, found)
    ours = composed(["experiment=best"], path.parents[1])
    theirs = OmegaConf.to_container(composed([*fixed, *found]))
    theirs.pop("report", None)  # what a study shows is no part of a run
    assert OmegaConf.to_container(ours) == theirs


def test_found_values_win_over_fixed_ones(tmp_path):
    path = written(tmp_path, ["optimizer.lr=1e-1", "model=vit"], ["model=resnet", "optimizer.lr=1e-3"])
    ours = composed(["experiment=best"], path.parents[1])
    assert (ours.optimizer.lr, ours.model._target_) == (0.001, "fer_lightning.models.resnet.ResNet")


def test_the_file_is_an_experiment_as_one_would_write_it(tmp_path):
    path = written(tmp_path, ["model=resnet", "trial=3", "hydra/launcher=joblib", "hydra.sweep.dir=x"], ["seed=3"])
    assert path.read_text().splitlines() == [
        "# @package _global_",
        "# Trial 17 of sweep x: val/loss 1.0432",
        "defaults:",
        "- _self_",
        "- override /model: resnet",
        "seed: 3",
    ]


def test_a_study_is_included_without_what_makes_it_a_search(tmp_path):
    path = written(tmp_path, ["study=psysfa_mboa"], ["seed=3"])
    text = path.read_text() + (path.parents[1] / "study" / "best_psysfa_mboa.yaml").read_text()
    assert "hydra" not in text and "override /model: psysfa_net" in text


@pytest.mark.parametrize(
    "fixed, found",
    [
        (["experiment=psysfa", "model.dropout=0.4"], ["optimizer.lr=0.001"]),
        (["study=psysfa_mboa", "model=resnet"], ["optimizer.lr=0.001"]),
    ],
)
def test_a_search_can_begin_where_another_one_ended(tmp_path, fixed, found):
    """And a third one where that ended."""
    first = written(tmp_path / "first", fixed, found).parents[1]
    typed = ["experiment=best", "optimizer=sgd"]
    second = written(tmp_path / "second", typed, ["data.batch_size=3"], first).parents[1]
    third = written(tmp_path / "third", ["experiment=best"], ["seed=5", "model.dropout=0.1"], second).parents[1]
    expected = composed([*typed, "data.batch_size=3", "seed=5", "model.dropout=0.1"], first)
    shutil.rmtree(first)
    shutil.rmtree(second)
    ours = composed(["experiment=best"], third)
    assert OmegaConf.to_container(ours) == OmegaConf.to_container(expected)
    assert (ours.optimizer.lr, ours.data.batch_size) == (0.001, 3)


def test_recipes_of_another_folder_stay_what_they_are(tmp_path):
    mine = tmp_path / "mine"
    files = {
        "experiment/same.yaml": "\n# @package _global_\n# Mine.\ndefaults: [hafem, more, _self_]\nseed: 1\n",
        "experiment/more.yaml": "# @package _global_\ndefaults: [{override /model: vit}]\nbudget: smoke\n",
        "ablation/same.yaml": "# @package model\ndepth: 2\n",
        "ablation/other.yaml": "# No package.\n# @package _global_\nseed: 3\n",
        "study/same.yaml": "# @package _global_\nhydra: {mode: MULTIRUN}\nthreads: 1\n",
        "experiment/psysfa.yaml": "# @package _global_\nseed: 99\n",  # Hydra takes that of fer
    }
    for name, text in files.items():
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text(text)
    for overrides in (["experiment=same", "ablation=same", "study=same"], ["experiment=psysfa", "ablation=other"]):
        path = written(tmp_path, overrides, ["optimizer.lr=0.5"], mine)
        ours = composed(["experiment=best"], path.parents[1])
        assert OmegaConf.to_container(ours) == OmegaConf.to_container(composed([*overrides, "optimizer.lr=0.5"], mine))


def test_what_no_file_can_say_is_told(tmp_path, caplog):
    path = written(tmp_path, ["~trainer.max_epochs", "experiment=best"], ["seed=3"])
    line = "# Overrides that this file cannot express: '~trainer.max_epochs' 'experiment=best'"
    assert line in path.read_text().splitlines()
    assert "cannot express '~trainer.max_epochs' 'experiment=best'" in caplog.text


def test_on_the_command_line(tmp_path, fer_process):
    fixed, found = ["model=resnet", "experiment=psysfa", "~scheduler"], ["optimizer.lr=1.5e-05"]
    path = written(tmp_path, fixed, found)
    ours = fer_process("train", "--config-dir", path.parents[1], "experiment=best", "--cfg", "job")
    theirs = fer_process("train", *fixed, *found, "--cfg", "job")
    assert ours.stdout == theirs.stdout != "", ours.stderr
