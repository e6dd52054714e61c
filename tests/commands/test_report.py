from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.commands import report as report_studies
from fer_lightning.errors import UserError
from fer_lightning.files import claims_dir

TABLE = "study=psysfa_table7"
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
