from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fer_lightning.errors import UserError
from hydra_plugins.fer_sweeper.space import SearchSpace, parse_space


def parsed(*overrides: str) -> SearchSpace:
    return parse_space(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("value", "distribution"),
    [
        ("interval(0.1,0.5)", FloatDistribution(0.1, 0.5)),
        ("interval(8,64)", FloatDistribution(8, 64)),
        ("int(interval(8,64))", IntDistribution(8, 64)),
        ("tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("tag(log,int(interval(8,64)))", IntDistribution(8, 64, log=True)),
        ("int(tag(log,interval(8,64)))", IntDistribution(8, 64, log=True)),
        ("range(8,64,8)", IntDistribution(8, 56, step=8)),
        ("range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("range(5,0,-1)", IntDistribution(1, 5)),
        ("range(0.1,1.0,0.2)", FloatDistribution(0.1, 0.9, step=0.2)),
        ("range(0.1,0.51,0.05)", FloatDistribution(0.1, 0.5, step=0.05)),
        ("range(3,4)", IntDistribution(3, 3)),
        ("int(interval(3,3))", IntDistribution(3, 3)),
        ("choice(resnet,vit)", CategoricalDistribution(["resnet", "vit"])),
        ("resnet,vit", CategoricalDistribution(["resnet", "vit"])),
        ("choice(8,16)", CategoricalDistribution(["8", "16"])),
        ("choice([0.2],[0.3,0.4])", CategoricalDistribution(["[0.2]", "[0.3,0.4]"])),
        ("false,true", CategoricalDistribution(["False", "True"])),
        ("choice(a)", CategoricalDistribution(["a"])),
    ],
)
def test_every_kind_of_sweep_has_its_distribution(value, distribution):
    assert parsed(f"x={value}").searched == {"x": distribution}


@pytest.mark.parametrize(
    "value",
    [
        "interval(2,1)",
        "interval(1,inf)",
        "interval(nan,1)",
        "tag(log,interval(0,1))",
        "tag(log,int(interval(0,8)))",
        "tag(loq,interval(1,2))",
        "tag(log,range(1,9))",
        "tag(log,choice(1,9))",
        "range(5,5)",
    ],
)
def test_what_cannot_be_searched_is_refused_with_its_name(value):
    with pytest.raises(UserError, match=r"x=.* cannot be searched"):
        parsed(f"x={value}")


def test_fixed_options_stay_as_typed_and_those_of_hydra_are_left_out():
    space = parsed(
        "model=resnet",
        "callbacks=[progress,ema]",
        "~logger",
        "+a.b='x y'",
        "hydra.sweep.dir=x",
        "hydra/launcher=joblib",
    )
    assert space.fixed == ("model=resnet", "callbacks=[progress,ema]", "~logger", "+a.b='x y'")
    assert space.searched == {}


def test_the_last_word_on_an_option_counts():
    assert parsed("x=interval(0,1)", "x=3") == SearchSpace({}, ("x=3",))
    assert parsed("x=3", "x=int(interval(0,1))") == SearchSpace({"x": IntDistribution(0, 1)}, ())
    assert parsed("x=interval(0,1)", "++x=3") == SearchSpace({}, ("++x=3",))
    assert parsed("model=a,b", "~model") == SearchSpace({}, ("~model",))


def test_values_return_to_the_command_line_without_loss():
    space = parsed("lr=interval(0,1)", "size=int(interval(1,9))", "model=a,b", "std=choice([0.2],[0.3])")
    overrides = space.overrides({"lr": 0.1 + 0.2, "size": 7, "model": "b", "std": "[0.3]"})
    assert overrides == ["lr=0.30000000000000004", "size=7", "model=b", "std=[0.3]"]
    values = [override.value() for override in OverridesParser.create().parse_overrides(overrides)]
    assert values == [0.1 + 0.2, 7, "b", [0.3]]


def test_small_floats_keep_their_type():
    (override,) = parsed("lr=interval(0,1)").overrides({"lr": 1e-05})
    assert OverridesParser.create().parse_override(override).value() == 1e-05
