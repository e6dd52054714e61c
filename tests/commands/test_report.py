from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.commands import report as report_studies
from fer_lightning.commands.train import fit
from fer_lightning.errors import UserError
from fer_lightning.files import claims_dir, write_json

TABLE = "study=psysfa_table7"
STUDY = """# @package _global_
defaults: [shared/grid, _self_]
hydra:
  sweeper:
    params: {model: "resnet,attention_cnn"}
report:
  title: Which net?
  reference: First
  metrics: {accuracy: accuracy}
  own_rows: {First: resnet, Second: attention_cnn}
"""
SHARES = {"psysfa_full": 0.8, "psysfa_band_low": 0.6, "psysfa_band_all": 0.7}


def write(write_record, folder: Path, options: list[str], seed: int, right: np.ndarray) -> None:
    """A record with all scores that Table 7 shows."""
    write_record(folder, options, seed, right)
    metrics = json.loads((folder / "metrics.json").read_text())
    for scores in metrics["splits"].values():
        scores |= {f"macro_{name}": scores["accuracy"] - 0.1 for name in ("precision", "recall", "f1")}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def write_study(folder: Path, write_record, seeds: int = 2) -> None:
    rng = np.random.default_rng(0)
    for name, share in SHARES.items():
        for seed in range(seeds):
            # The full net was trained for another study, which shares the folder.
            study = "study=psysfa_table6" if name == "psysfa_full" else TABLE
            options = [f"ablation={name}", study, "budget=pilot"]
            write(write_record, folder / f"{name}_seed{seed}", options, seed, rng.random(200) < share)


@pytest.fixture(scope="module")
def written(tmp_path_factory, write_record) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    write_study(folder / "psysfa_ablations_fer2013_pilot", write_record)
    report_studies.main([str(folder), "--to", str(folder / "experiments")])
    return folder / "experiments" / "psysfa_net"


def test_each_study_of_a_folder_has_its_own_report(written):
    assert {path.name for path in written.iterdir()} == {
        "psysfa_table6_fer2013_pilot",
        "psysfa_table7_fer2013_pilot",
    }


def test_the_table_holds_published_and_measured_numbers(written):
    folder = written / "psysfa_table7_fer2013_pilot"
    table = pd.read_csv(folder / "accuracy.csv", keep_default_na=False).set_index("row")
    runs = pd.read_csv(folder / "runs.csv")
    assert float(table.loc["Low-frequency only", "published"]) == 0.928
    low = runs.loc[runs["variant"] == "psysfa_band_low", "accuracy"]
    assert float(table.loc["Low-frequency only", "mean"]) == pytest.approx(low.mean())
    assert table.loc["Low + Mid", "mean"] == "not run" and float(table.loc["Low + Mid", "published"]) == 0.952
    assert table["n_seeds"].astype(int).tolist() == [2, 0, 0, 2, 2]


def test_the_page_tells_its_command_and_what_is_missing(written):
    text = (written / "psysfa_table7_fer2013_pilot" / "table.md").read_text()
    assert "```bash\nfer train study=psysfa_table7 budget=pilot\n```" in text
    assert "Not run yet, 9 of the grid: seed=0 ablation=psysfa_band_high; seed=0 ablation=psysfa_band_low_mid" in text
    assert "**Runs:** 6 of 15" in text


def test_while_the_first_runs_are_trained(tmp_path, write_record, capsys):
    write(write_record, tmp_path / "runs" / "a", ["ablation=psysfa_band_low", TABLE], 0, np.arange(200) < 90)
    report_studies.main([str(tmp_path / "runs"), "--to", str(tmp_path / "to")])
    assert "14 runs have no record yet: seed=0 ablation=psysfa_band_high" in capsys.readouterr().out.replace("\n", " ")
    assert (tmp_path / "to" / "psysfa_net" / "psysfa_table7_fer2013_pilot" / "table.md").is_file()


@pytest.fixture(scope="module")
def multirun(fer_undrawn, tiny, tmp_path_factory) -> tuple[Path, str]:
    """Folder and output of a multirun of two networks of which one cannot be built with one of two options."""
    place = tmp_path_factory.mktemp("multirun")
    (place / "my conf").mkdir()
    options = [option for option in tiny if not option.startswith("model")]
    options += ["model=resnet,attention_cnn", "model.dropout=0.1,1.5", "seed=0", "trainer.max_epochs=1"]
    printed = io.StringIO()
    with redirect_stdout(printed):
        folder = f"hydra.sweep.dir={place / 'my runs'}"
        assert fer_undrawn("train", "-m", f"--config-dir={place / 'my conf'}", *options, folder) == 2
    return place / "my runs", printed.getvalue()


def test_a_multirun_prints_a_line_per_run_and_no_more(multirun):
    folder, printed = multirun
    plan, *lines = filter(None, printed[: printed.index("Test images")].splitlines())
    assert plan.startswith("4 runs: model (resnet, attention_cnn) x model.dropout (0.1, 1.5), in ")
    accuracies = [json.loads((folder / run / "metrics.json").read_text())["splits"]["test"]["accuracy"] for run in "02"]
    assert len(lines) == 4
    assert lines[0].startswith("[1 of 4] resnet, model.dropout=0.1: val ") and "; about " in lines[0]
    assert f"test {100 * accuracies[0]:.1f} % in " in lines[0] and f"test {100 * accuracies[1]:.1f} % in " in lines[2]
    assert "[2 of 4] resnet, model.dropout=1.5: failed: model.dropout must be from 0 to 1; got 1.5; about" in lines[1]
    assert lines[3].startswith("[4 of 4] attention_cnn, model.dropout=1.5: failed: ") and "about" not in lines[3]


def test_a_multirun_ends_with_a_comparison_and_commands_that_work(multirun, fer, capsys, monkeypatch):
    folder, printed = multirun
    monkeypatch.chdir(folder.parent)
    table = printed[printed.index("Test images") :]
    assert [line.split()[0].strip("│") for line in table.splitlines() if line.startswith("│")] == [
        "resnet",
        "attention_cnn",
    ]
    assert "2 of 4 runs have no record: resnet, model.dropout=1.5; attention_cnn, model.dropout=1.5" in table
    again, report = (
        shlex.split(line.partition(": ")[2])
        for line in table.splitlines()
        if ": fer " in line and "fer train:" not in line
    )
    assert "'" in table and report[:4] == ["fer", "report", "--config-dir", str(folder.parent / "my conf")]
    assert fer(*again[1:], "reference=attention_cnn") == 2
    printed = capsys.readouterr().out
    assert printed.count("already finished") == 2 and printed.rstrip().endswith("reference=attention_cnn")
    assert "reference" in next(line for line in printed.splitlines() if line.startswith("│attention_cnn"))
    assert fer(*report[1:], "reference=attention_cnn") == 0
    shown = capsys.readouterr().out
    reason = "(failed: model.dropout must be from 0 to 1; got 1.5)"
    failed = f"resnet, model.dropout=1.5 {reason}; attention_cnn, model.dropout=1.5 {reason}"
    assert f"2 runs have no record yet: {failed}\n" in shown
    assert "reference" in next(line for line in shown.splitlines() if line.startswith("│attention_cnn"))
    report_table = pd.read_csv(folder / "report" / "accuracy.csv").set_index("row")
    run = json.loads((folder / "0" / "metrics.json").read_text())
    assert report_table.loc["resnet", "mean"] == pytest.approx(run["splits"]["test"]["accuracy"], abs=1e-5)
    for name in ("table.md", "index.html"):
        text = (folder / "report" / name).read_text()
        assert "claim" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.DOTALL).lower()


def test_a_multirun_that_is_stopped_compares_what_it_has(fer_undrawn, tiny, tmp_path, monkeypatch, capsys):
    def fit_or_stop(cfg, *arguments):
        if cfg.seed == 1:
            raise KeyboardInterrupt
        return fit(cfg, *arguments)

    monkeypatch.setattr("fer_lightning.commands.train.fit", fit_or_stop)
    options = ["trainer.max_epochs=1", "seed=0,1,2", f"hydra.sweep.dir={tmp_path / 'runs'}"]
    assert fer_undrawn("train", "-m", *tiny, *options) == 130
    printed, error = capsys.readouterr()
    assert "2 of 3 runs have no record: resnet seed=1; resnet seed=2" in printed and "│resnet" in printed
    assert "Only these" not in printed and f"hydra.sweep.dir={tmp_path / 'runs'}" in error


def test_runs_that_never_started_are_listed_until_they_are_trained(tmp_path, write_record, capsys):
    write_record(tmp_path / "0", ["model=resnet"], 0, np.arange(200) < 90)
    write_json(tmp_path / "1" / "started.json", {"overrides": ["model=vit", "seed=0"], "variant": {"model": "vit"}})
    outcomes = {"resnet": "no record", "vit": "failed: stopped", "dan": "no record"}
    ledger = [
        {"name": name, "options": {"model": name, "seed": "0"}, "outcome": outcome}
        for name, outcome in outcomes.items()
    ]
    write_json(tmp_path / "unfinished.json", ledger)
    report_studies.main([str(tmp_path)])
    assert "2 runs have no record yet: vit (failed: stopped); dan (no record)" in capsys.readouterr().out
    (tmp_path / "unfinished.json").write_text('[{"name": "vit"}]')
    report_studies.main([str(tmp_path)])
    assert "1 run has no record yet: vit seed=0 in " in capsys.readouterr().out


def test_a_study_ends_with_its_table_and_the_command_of_its_report(
    fer, fer_undrawn, tiny, tmp_path, monkeypatch, capsys
):
    conf = tmp_path / "conf" / "study"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    options = [option for option in tiny if not option.startswith("model")]
    study = ["study=mine", "budget=smoke", "trainer.max_epochs=1", "trainer.limit_train_batches=1.0"]
    command = ["train", "--config-dir", "conf", *options, *study, "hydra.sweep.dir=runs"]
    assert fer_undrawn(*command) == 0
    table = capsys.readouterr().out.partition("Which net? (accuracy)")[2]
    shown = {line.split()[0].strip("│"): line for line in table.splitlines() if line.startswith("│")}
    assert {"First", "Second"} <= shown.keys() and "reference" in shown["First"]
    means = {}
    for number in range(4):
        record = json.loads((tmp_path / "runs" / str(number) / "metrics.json").read_text())
        means.setdefault(record["variant"]["model"], []).append(record["splits"]["test"]["accuracy"])
    assert f"{100 * np.mean(means['resnet']):.1f} % ±" in shown["First"]
    hint = shlex.split(table.partition("Report with tests and figures: ")[2])
    assert hint == ["fer", "report", "--config-dir", "conf", "runs"]
    assert fer(*hint[1:]) == 0
    assert (tmp_path / "experiments" / "mine_folder_smoke" / "index.html").is_file()


@pytest.mark.parametrize(("started", "startup"), [(60, 40), (100, 0), (3000, 0)])
def test_imports_are_no_part_of_an_estimate(tmp_path, started, startup):
    """A run that was launched 100 seconds ago, and wrote its first file so many seconds ago."""
    write_json(tmp_path / "started.json", {})
    os.utime(tmp_path / "started.json", (time.time() - started,) * 2)
    assert report_studies._startup(tmp_path, 100) == pytest.approx(startup, abs=1)


def test_what_no_run_can_read_is_reported_once_before_any_starts(fer, tmp_path, capsys):
    runs = ["data.root=/nowhere", f"hydra.sweep.dir={tmp_path / 'runs'}"]
    assert fer("train", "-m", "data=fer2013", "seed=0,1", *runs) == 2
    printed, error = capsys.readouterr()
    assert (printed, error.count("found at data.root=/nowhere")) == ("", 1) and not (tmp_path / "runs").exists()
    assert fer("train", "-m", "data=fer2013,rafdb", *runs) == 2  # one of them may be there
    assert capsys.readouterr().out.count("failed: No ") == 2


def test_what_two_runs_warn_of_is_printed_once(fer_undrawn, trees, tmp_path, capsys):
    data = ["data=fer2013", f"data.root={trees / 'fer2013'}", f"data.cache_dir={tmp_path / 'cache'}", "model=resnet"]
    short = ["seed=0,1", "trainer=cpu", "trainer.max_epochs=1", "callbacks=[]", "logger=none"]
    assert fer_undrawn("train", "-m", *data, *short, f"hydra.sweep.dir={tmp_path / 'runs'}") == 0
    said = "fer2013 differs from its official release"
    printed, error = capsys.readouterr()
    assert (printed + error).count(said) == 1
    assert all(said in log.read_text() for log in tmp_path.glob("runs/*/train.log"))


def test_a_run_that_was_stopped_is_listed_and_the_reference_must_exist(tmp_path, write_record, capsys):
    for name, options in (("0", ["ablation=b"]), ("1", ["ablation=b_full"])):
        write_record(tmp_path / name, options, 0, np.arange(200) < 90)
    write_json(tmp_path / "2" / "started.json", {"overrides": ["ablation=c", "seed=4"], "variant": {"ablation": "c"}})
    report_studies.main([str(tmp_path), "--to", str(tmp_path / "to")])
    printed = capsys.readouterr().out
    assert "1 run has no record yet: c seed=4 in " in printed
    assert "reference" in next(line for line in printed.splitlines() if line.startswith("│b_full"))
    with pytest.raises(UserError, match="reference=d must be a variant of the runs: choose one of b, b_full"):
        report_studies.main([str(tmp_path), "reference=d"])


def test_a_multirun_over_data_sets_has_a_report_of_each(tmp_path, write_record, capsys):
    for number, dataset in enumerate(("fer2013", "rafdb")):
        write_record(tmp_path / str(number), ["model=vit"], 0, np.arange(200) < 90)
        path = tmp_path / str(number) / "metrics.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "protocol": {**record["protocol"], "dataset": dataset}}))
    report_studies.main([str(tmp_path)])
    assert {path.parent.name for path in tmp_path.glob("report/*/table.md")} == {"fer2013", "rafdb"}


def test_runs_without_a_study_are_compared(tmp_path, write_record, capsys):
    for name, options, right in (
        ("a", ["model=resnet"], 120),
        ("b", ["model=vit"], 90),
        ("c", ["model=vit", "data.align=true"], 100),
    ):
        write_record(tmp_path / "mine" / name, options, 0, np.arange(200) < right)
    report_studies.main([str(tmp_path / "mine"), "--to", str(tmp_path / "to")])
    table = pd.read_csv(tmp_path / "to" / "mine" / "accuracy.csv")
    assert dict(zip(table["row"], table["mean"])) == {"resnet": 0.6, "vit": 0.45, "vit, data.align=true": 0.5}
    assert table["published"].isna().all()
    assert "resnet" in capsys.readouterr().out


def test_runs_beside_a_study_are_told(tmp_path, write_record, capsys):
    write(write_record, tmp_path / "study" / "a", ["ablation=psysfa_full", TABLE], 0, np.arange(200) < 90)
    write_record(tmp_path / "plain" / "b", ["model=resnet"], 0, np.arange(200) < 90)
    report_studies.main([str(tmp_path), "--to", str(tmp_path / "to")])
    assert "Runs without a study are omitted" in capsys.readouterr().out


def test_a_search(tmp_path, write_record):
    search = tmp_path / "psysfa_mboa_fer2013_pilot_mboa"
    write_record(search / "0", ["study=psysfa_mboa", "budget=smoke", "trial=0"], 0, np.arange(200) < 90)
    (search / "trials.csv").write_text("number,value\n0,1.5\n")
    best = {"trial": 0, "value": 1.5, "parameters": {"optimizer.lr": 0.0021, "data.batch_size": 33}}
    best["parameters"] |= {"model.dropout": 0.25, "model.num_filters": 24}
    report = {"objective": "val/loss", "direction": "minimize", "trials": {"complete": 1}, "best": best}
    (search / "best.json").write_text(json.dumps({**report, "sampler": None}))
    report_studies.main([str(search), "--to", str(tmp_path / "to")])
    (written,) = (tmp_path / "to").rglob("table.md")
    assert written.parent.name == search.name
    assert "0.0021" in written.read_text()


def test_what_cannot_be_reported_does_not_keep_the_rest_from_it(tmp_path, write_record):
    write_record(tmp_path / "runs" / "a_search" / "0", ["study=psysfa_mboa", "trial=0"], 0, np.arange(200) < 90)
    (tmp_path / "runs" / "a_search" / "study.db").touch()
    for budget in ("pilot", "smoke"):
        options = ["ablation=psysfa_full", TABLE, f"budget={budget}"]
        write(write_record, tmp_path / "runs" / "mixed" / budget, options, 0, np.arange(200) < 90)
    write(write_record, tmp_path / "runs" / "b" / "a", ["ablation=psysfa_full", TABLE], 0, np.arange(200) < 90)
    with pytest.raises(UserError, match=r"a_search is not finished(.|\n)*budget=pilot and budget=smoke"):
        report_studies.main([str(tmp_path / "runs"), "--to", str(tmp_path / "to")])
    assert [path.parent.name for path in (tmp_path / "to").rglob("table.md")] == ["psysfa_table7_fer2013_pilot"]


def test_a_study_that_says_not_what_its_rows_are(tmp_path, write_record):
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "mine.yaml").write_text("# @package _global_\nseed: 1\n")
    write_record(tmp_path / "runs" / "a", ["study=mine"], 0, np.arange(200) < 90)
    arguments = [str(tmp_path / "runs"), "--to", str(tmp_path / "to"), "--config-dir", str(tmp_path / "conf")]
    with pytest.raises(UserError, match="study=mine must have a report block"):
        report_studies.main(arguments)


def test_there_is_nothing_to_report(tmp_path):
    with pytest.raises(UserError, match="must have finished runs"):
        report_studies.main([str(tmp_path)])
    with pytest.raises(UserError, match="must be a folder that fer train wrote"):
        report_studies.main([str(tmp_path / "nowhere")])


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        report_studies.main(["--help"])
    assert "fer report outputs/studies" in capsys.readouterr().out


def test_published_numbers_are_found():
    assert (claims_dir() / "psysfa_net" / "published.csv").is_file() and (claims_dir() / "credible.csv").is_file()


@pytest.mark.slow
def test_no_torch_is_imported():
    code = "import sys, fer_lightning.commands.study_report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
