from __future__ import annotations

import pytest

from fer_lightning.evaluation.variants import by_current_name, name_variants


def test_seeds_share_a_name():
    runs = [
        ["ablation=psysfa_full", "seed=0"],
        ["seed=1", "ablation=psysfa_full"],
        ["ablation=psysfa_no_fusion", "seed=0"],
    ]
    assert name_variants(runs) == ["psysfa_full", "psysfa_full", "psysfa_no_fusion"]


def test_what_all_share_is_not_told():
    runs = [["experiment=psysfa", "trainer.max_epochs=6", f"model={name}"] for name in ("resnet", "vit")]
    assert name_variants(runs) == ["resnet", "vit"]


def test_several_choices_are_told_in_one_order():
    runs = [["ablation=b", "model=resnet"], ["model=vit", "ablation=c"]]
    assert name_variants(runs) == ["resnet, b", "vit, c"]


def test_other_options_only_where_choices_do_not_suffice():
    runs = [["model=vit", "optimizer.lr=1e-3"], ["model=resnet"], ["model=resnet", "+optimizer.lr=0.01"]]
    assert name_variants(runs) == ["vit", "resnet", "resnet, optimizer.lr=0.01"]


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
    assert name_variants([["model=vit"], ["model=vit", option]]) == ["vit", "vit"]


@pytest.mark.parametrize("option", ["budget=smoke", "trainer.devices=2", "data.align=true", "callbacks=ema"])
def test_what_changes_a_result_is_a_variant(option):
    assert len(set(name_variants([["model=vit"], ["model=vit", option]]))) == 2


def test_the_last_of_two_counts():
    assert name_variants([["model=vit", "model=resnet"], ["model=resnet"]]) == ["resnet", "resnet"]


def test_unlike_choices_with_one_value_stay_apart():
    names = name_variants([["experiment=resnet"], ["model=resnet"], ["model=vit"]])
    assert names == ["experiment=resnet", "model=resnet", "vit"]


def test_a_study_that_is_half_done_has_the_names_of_the_whole():
    runs = [["experiment=psysfa", f"ablation={name}", "seed=0"] for name in ("full", "no_fusion")]
    assert name_variants(runs) == ["full", "no_fusion"]
    assert name_variants(runs[:1]) == ["full"]


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


def test_nothing_typed():
    assert name_variants([["seed=4"], []]) == ["default", "default"]
