from __future__ import annotations

import pytest

from fer_lightning.results.naming import label_run, name_variants, variant_name


def test_seeds_share_a_name():
    runs = [{"ablation": name} for name in ("psysfa_full", "psysfa_full", "psysfa_no_fusion")]
    assert name_variants(runs) == ["psysfa_full", "psysfa_full", "psysfa_no_fusion"]


def test_what_all_share_is_not_told():
    runs = [{"experiment": "psysfa", "trainer.max_epochs": "6", "model": name} for name in ("resnet", "vit")]
    assert name_variants(runs) == ["resnet", "vit"]


def test_several_choices_are_told_in_one_order():
    runs = [{"ablation": "b", "model": "resnet"}, {"model": "vit", "ablation": "c"}]
    assert name_variants(runs) == ["resnet, b", "vit, c"]


def test_other_options_only_where_choices_do_not_suffice():
    runs = [
        {"model": "vit", "optimizer.lr": "1e-3"},
        {"model": "resnet"},
        {"model": "resnet", "optimizer.lr": "0.01"},
    ]
    assert name_variants(runs) == ["vit", "resnet", "resnet, optimizer.lr=0.01"]


def test_unlike_choices_with_one_value_stay_apart():
    names = name_variants([{"experiment": "resnet"}, {"model": "resnet"}, {"model": "vit"}])
    assert names == ["experiment=resnet", "model=resnet", "vit"]


def test_a_study_that_is_half_done_has_the_names_of_the_whole():
    runs = [{"experiment": "psysfa", "ablation": name} for name in ("full", "no_fusion")]
    assert name_variants(runs) == ["full", "no_fusion"]
    assert name_variants(runs[:1]) == ["full"]


def test_nothing_typed():
    assert name_variants([{}, {}]) == ["default", "default"]


def test_a_network_of_timm_has_its_own_name():
    runs = [{"model": "timm", "model.name": name} for name in ("convnext_atto", "vgg11")]
    assert name_variants(runs) == ["convnext_atto", "vgg11"]
    assert variant_name(runs[0]) == "convnext_atto"


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ({}, "default"),
        ({"ablation": "psysfa_no_fusion"}, "psysfa_no_fusion"),
        ({"experiment": "psysfa", "ablation": "psysfa_no_fusion"}, "psysfa_no_fusion"),
        ({"model": "resnet", "optimizer.lr": "3e-4"}, "resnet, optimizer.lr=3e-4"),
        ({"model": "resnet", "trainer.max_epochs": "3", "trainer": "cpu", "budget": "smoke"}, "resnet"),
    ],
)
def test_a_single_run_is_named_by_what_was_typed(variant, name):
    assert variant_name(variant) == name


@pytest.mark.parametrize(
    "variants",
    [
        [{"model": "resnet", "optimizer.lr": rate, "trainer.max_epochs": "3"} for rate in ("1e-3", "1e-2")],
        [{"experiment": "psysfa", "model": model} for model in ("resnet", "vit")],
        [{"model": "resnet", "trainer.max_epochs": epochs} for epochs in ("3", "6")],
        [{"model": model, "ablation": name} for model in ("a", "b") for name in ("x", "y")],
    ],
)
def test_a_run_of_a_multirun_has_the_name_that_its_report_gives_it(variants):
    """Each run knows what was typed for all of them; the report knows them all."""
    first, *others = (set(variant.items()) for variant in variants)
    shared = [f"{key}={value}" for key, value in first.intersection(*others)]
    assert shared or len(variants) == 4
    assert [variant_name(variant, [*shared, "seed=0"]) for variant in variants] == name_variants(variants)


PROTOCOL = {"dataset": "fer2013", "split": "official", "classes": ["happy", "sad"]}


def test_labels_of_a_run():
    record = {"protocol": PROTOCOL, "seed": 1, "study": "psysfa_table6", "variant": {"ablation": "psysfa_no_fusion"}}
    choices = {"model": "psysfa_net", "data": "fer2013", "ablation": "psysfa_no_fusion", "experiment": None}
    labels = label_run(record, choices, group="psysfa_ablations_fer2013_smoke")
    assert labels.name == "psysfa_no_fusion-fer2013-s1"
    assert (labels.group, labels.job_type) == ("psysfa_ablations_fer2013_smoke", "train")
    assert labels.tags == ("fer2013", "psysfa_net", "psysfa_no_fusion", "psysfa_table6", "official, 2 classes")


def test_the_network_names_a_run_without_a_choice():
    record = {"protocol": PROTOCOL, "seed": 0, "variant": {}}
    assert label_run(record, {"model": "psysfa_net"}).name == "psysfa_net-fer2013-s0"
    assert label_run({**record, "model": "PsySFANet"}, {}).name == "psysfa_net-fer2013-s0"


def test_a_trial_is_named_by_its_number_and_not_by_what_it_tries():
    record = {"protocol": PROTOCOL, "seed": 0, "variant": {"model": "vit", "optimizer.lr": "0.0004321"}}
    labels = label_run(record, {}, trial=12)
    assert labels.name == "vit-fer2013-t12" and "trial" in labels.tags


def test_a_long_name_keeps_data_and_seed():
    variant = {"model": "resnet"} | {f"model.option_{number}": "value" for number in range(20)}
    labels = label_run({"protocol": PROTOCOL, "seed": 3, "variant": variant}, {})
    assert len(labels.name) == 128 and labels.name.endswith("-fer2013-s3")
