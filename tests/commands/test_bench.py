from __future__ import annotations

import re

import pandas as pd
import pytest

from fer_lightning.benchmark import samplers

OPTIONS = [
    "part=search",
    "search.samplers=[random,mboa paper,gp]",
    "search.problems=[sphere_4,tuning]",
    "search.seeds=2",
]


def options_of_data_and_net(tiny: list[str]) -> list[str]:
    return [option for option in tiny if option.startswith(("data", "model"))]


def test_every_round_measures_everything(tiny, fer, tmp_path, capsys):
    options = ["part=training", "rounds=2", "batches=3", f"hydra.run.dir={tmp_path}"]
    assert fer("bench", *options_of_data_and_net(tiny), *options) == 0
    rates = pd.read_csv(tmp_path / "bench.csv", index_col="round")
    assert list(rates) == ["fer train", "plain loop", "net alone", "loader alone"]
    assert len(rates) == 2 and (rates > 0).all(axis=None)
    ratio = (rates["fer train"] / rates["plain loop"]).median()
    told = re.search(r"train : plain loop\D+([\d.]+) x", capsys.readouterr().out)
    assert told and float(told[1]) == pytest.approx(ratio, abs=0.01)
    assert not (tmp_path / "latency.csv").exists()


def test_more_batches_than_an_epoch_has_are_refused(tiny, fer, tmp_path, capsys):
    assert fer("bench", *options_of_data_and_net(tiny), "part=training", "batches=6", f"hydra.run.dir={tmp_path}") == 2
    assert "batches=6 is more than an epoch: use 5 at most" in capsys.readouterr().err


def test_latency_of_hafem_with_and_without_attention(fer, tmp_path, capsys):
    options = ["part=latency", "~latency.nets.hafem_224px", "latency.rounds=3", f"hydra.run.dir={tmp_path}"]
    assert fer("bench", *options) == 0
    times = pd.read_csv(tmp_path / "latency.csv", index_col="round")
    whole, bare = "hafem_lite_48px", "hafem_lite_48px without attention"
    assert list(times) == [whole, bare] and len(times) == 3
    told = re.search(r"hafem_lite_48px : without attention\D+([\d.]+) x", capsys.readouterr().out)
    assert told and float(told[1]) == pytest.approx((times[whole] / times[bare]).median(), abs=0.001)
    assert not (tmp_path / "bench.csv").exists()


def test_an_unknown_part_is_told(fer, tmp_path, capsys):
    assert fer("bench", "part=speed", f"hydra.run.dir={tmp_path}") == 2
    assert "part=speed is unknown: use one of training, latency, search, all" in capsys.readouterr().err


def test_without_a_part_nothing_is_measured(fer, tmp_path, capsys):
    assert fer("bench", f"hydra.run.dir={tmp_path}") == 0
    listed = capsys.readouterr().out
    assert all(f"fer bench part={name}" in listed for name in ("training", "latency", "search", "all"))
    assert "twenty minutes" in listed
    assert not list(tmp_path.glob("*.csv"))


@pytest.fixture
def bench(fer, tmp_path):
    def run(*options: str) -> int:
        always = [*OPTIONS, "search.workers=1", "search.budgets=[12,6]", "search.most={gp:6}", f"output_dir={tmp_path}"]
        return fer("bench", *always, *options, f"hydra.run.dir={tmp_path}/hydra")

    return run


@pytest.fixture
def raced(monkeypatch) -> list[int]:
    """Lengths of the studies that were run."""
    lengths = []
    compete = samplers.compete

    def counted(sampler, problem, seed, trials):
        lengths.append(trials)
        return compete(sampler, problem, seed, trials)

    monkeypatch.setattr(samplers, "compete", counted)
    return lengths


def test_every_sampler_problem_seed_and_budget_once(bench, tmp_path, raced, capsys):
    assert bench() == 0
    results = pd.read_csv(tmp_path / "benchmark.csv")
    assert list(results) == ["sampler", "problem", "seed", "budget", "regret", "ask_ms"]
    # random and MBOA at both budgets, GP at the smaller one alone
    assert (
        len(results) == 2 * 2 * (2 + 2 + 1) and not results.duplicated(["sampler", "problem", "seed", "budget"]).any()
    )
    assert results.loc[results["sampler"] == "gp", "budget"].unique().tolist() == [6]
    # random is read off the longer study; MBOA, which plans for the end, runs both
    assert sorted(raced) == [6] * (4 + 4) + [12] * (4 + 4)
    course = samplers.compete("mboa paper", "tuning", 1, 6)
    row = results.query("sampler == 'mboa paper' and problem == 'tuning' and seed == 1 and budget == 6")
    assert row["regret"].item() == pytest.approx(course.regret[-1], rel=1e-3)
    ranks = pd.read_csv(tmp_path / "ranks.csv")
    assert ranks.groupby("budget").size().to_dict() == {6: 3, 12: 2}
    assert len(pd.read_csv(tmp_path / "regrets.csv")) == 4
    assert (tmp_path / "ranks.png").is_file()
    best = ranks.iloc[0]
    told = next(line for line in capsys.readouterr().out.splitlines() if best["sampler"] in line)
    assert f"{best['mean_rank']:.1f}" in told


def test_a_stopped_benchmark_goes_on(bench, tmp_path, raced):
    assert bench("search.seeds=1") == 0
    first = pd.read_csv(tmp_path / "benchmark.csv")
    first[:-1].to_csv(tmp_path / "benchmark.csv", index=False)  # as if stopped before the last study
    raced.clear()
    assert bench() == 0
    assert sorted(raced) == [6] * (4 + 1) + [12] * 4
    results = pd.read_csv(tmp_path / "benchmark.csv")
    assert len(results) == 20
    pd.testing.assert_frame_equal(results[: len(first) - 1], first[:-1])


def test_what_was_not_asked_for_is_not_ranked(bench, tmp_path):
    assert bench() == 0
    assert bench("search.samplers=[random,gp]", "search.budgets=[6]") == 0
    assert len(pd.read_csv(tmp_path / "benchmark.csv")) == 20
    assert sorted(pd.read_csv(tmp_path / "ranks.csv")["sampler"]) == ["gp", "random"]


def test_processes_find_the_same(bench, tmp_path):
    options = ["search.samplers=[mboa scent]", "search.problems=[tuning]", "search.budgets=[12]"]
    assert bench(*options) == 0
    alone = pd.read_csv(tmp_path / "benchmark.csv").drop(columns="ask_ms")
    (tmp_path / "benchmark.csv").unlink()
    assert bench(*options, "search.workers=2") == 0
    together = pd.read_csv(tmp_path / "benchmark.csv").drop(columns="ask_ms")
    pd.testing.assert_frame_equal(together, alone)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("search.samplers=[mboa]", "search.samplers has mboa, which is unknown: use any of mboa literal, mboa paper"),
        ("search.problems=[sphere]", "search.problems has sphere, which is unknown: use any of sphere_4"),
        ("+search.most.bayes=5", "search.most has bayes, which is unknown"),
    ],
)
def test_unknown_names_are_told(bench, capsys, option, told):
    assert bench(option) == 2
    assert told in capsys.readouterr().err
