"""Run folders of strangers, and damaged ones: configs that are resumed, records that are reported and listed."""

from __future__ import annotations

import copy
import json
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from fer_lightning.commands import dashboard
from fer_lightning.commands import report as report_studies
from fer_lightning.commands.stored_config import default_cache, read_config
from fer_lightning.errors import UserError
from fer_lightning.results.collect import collect_runs
from fer_lightning.results.metrics_schema import identity
from fer_lightning.training.registry import KNOWN, known

RIGHT = np.arange(200) < 150


class Bomb:
    def __reduce__(self):
        return exec, ("open('exploded', 'w').close()",)


def targets(node: object) -> list[str]:
    if isinstance(node, dict):
        return [*([node["_target_"]] if "_target_" in node else []), *(t for v in node.values() for t in targets(v))]
    return [t for value in node for t in targets(value)] if isinstance(node, list) else []


def test_configs_that_are_resumed(campaign, trained_run, tmp_path, monkeypatch, mutate, damage):
    from omegaconf import OmegaConf

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/secret")
    Path("bomb.pkl").write_bytes(pickle.dumps(Bomb()))
    run = tmp_path / "run"
    run.mkdir()
    text = (trained_run / "config.yaml").read_text()
    stored = yaml.safe_load(text)
    stored["logger"] = {
        "csv": {
            "_target_": "pytorch_lightning.loggers.CSVLogger",
            "save_dir": str(trained_run),
            "name": "csv",
            "version": "",
        }
    }
    parts = ("model", "data", "loss", "procedure", "optimizer", "scheduler", "trainer", "logger", "augment", "mixing")

    def safe(cfg) -> bool:
        plain = OmegaConf.to_container(cfg, resolve=True)
        named = [name for part in parts if part != "augment" for name in targets(plain.get(part))]
        cached = plain["data"]["cache_dir"] in (default_cache(), stored["data"]["cache_dir"])
        inside = plain.get("logger") is None or all(
            not node or Path(str(node.get("save_dir", run))).resolve().is_relative_to(run.resolve())
            for node in plain["logger"].values()
        )
        trusted = all(any(known(name, part, nested) for part in KNOWN for nested in (False, True)) for name in named)
        return trusted and cached and inside and plain["output_dir"] == str(run) and "/home/secret" not in str(plain)

    (run / "config.yaml").write_text(yaml.safe_dump(stored))
    assert safe(read_config(run))
    for case, rng in campaign.cases(quick=15, full=500):
        kind = rng.integers(8)
        if kind == 0:
            (run / "config.yaml").write_bytes(damage(text.encode(), rng))
            done = "damaged"
        else:
            changed = copy.deepcopy(stored)
            done = mutate(changed if kind < 3 else changed[parts[case % len(parts)]], rng)
            (run / "config.yaml").write_text(yaml.safe_dump(changed))
        campaign.judge(f"{case} {done}", lambda: read_config(run), named="config.yaml", accepts=safe)
    assert not Path("exploded").exists()


@pytest.fixture
def study(tmp_path, write_record) -> Path:
    for number, name in enumerate(("a", "b", "c")):
        write_record(tmp_path / "study" / str(number), [f"ablation={name}"], 0, RIGHT)
        table = "epoch,train/accuracy,val/accuracy,train_seconds,images\n1,0.5,0.4,2.5,50\n2,0.6,0.5,2.5,50\n"
        (tmp_path / "study" / str(number) / "history.csv").write_text(table)
        record = tmp_path / "study" / str(number) / "metrics.json"
        fields = identity([f"ablation={name}"])
        record.write_text(json.dumps(json.loads(record.read_text()) | fields))
    return tmp_path / "study"


def spoil(run: Path, rng: np.random.Generator, mutate, damage, whole: dict[str, bytes]) -> str:
    """Damages one of the files of a run."""
    for name, content in whole.items():
        (run / name).write_bytes(content)
    name = ("metrics.json", "metrics.json", "metrics.json", "predictions.parquet", "history.csv")[rng.integers(5)]
    if name == "metrics.json" and rng.integers(4):
        metrics = json.loads(whole[name])
        done = mutate(metrics, rng)
        (run / name).write_text(json.dumps(metrics))
        return done
    (run / name).write_bytes(damage(whole[name], rng))
    return f"damaged {name}"


@pytest.fixture
def drawn_once(monkeypatch) -> None:
    """Each figure is drawn for the page, coarsely, and not a second time for its own file, whose content is empty."""
    savefig = Figure.savefig

    def draw(figure: Figure, file: Path | BytesIO, **options: Any) -> None:
        if isinstance(file, Path):
            file.touch()
        else:
            savefig(figure, file, **{**options, "dpi": 20})

    monkeypatch.setattr(Figure, "savefig", draw)


@pytest.mark.usefixtures("drawn_once")
def test_records_that_are_reported(campaign, study, tmp_path, mutate, damage, capsys):
    whole = {path.name: path.read_bytes() for path in (study / "1").iterdir()}
    for case, rng in campaign.cases(quick=1, full=200):
        done = spoil(study / "1", rng, mutate, damage, whole)
        to = tmp_path / "reports"

        def report(to=to) -> str:
            report_studies.main([str(study), "--to", str(to), "--wandb", "disabled"])
            return (to / "study" / "table.md").read_text()

        campaign.judge(
            f"{case} {done}",
            report,
            named="study",
            accepts=lambda text: (
                "| a |" in text and "| c |" in text and "<script" not in text and "\x1b" not in capsys.readouterr().out
            ),
        )
        assert {path.name for path in tmp_path.iterdir()} <= {"study", "reports"}


def test_records_that_are_listed(campaign, study, mutate, damage, capsys):
    whole = {path.name: path.read_bytes() for path in (study / "1").iterdir()}

    def listed() -> str:
        dashboard.main(["--list", str(study)])
        return capsys.readouterr().out

    for case, rng in campaign.cases(quick=20, full=400):
        done = spoil(study / "1", rng, mutate, damage, whole)
        if rng.integers(3) == 0:
            (study / "1" / "best.json").write_bytes(damage(b'{"study": "s", "objective": "o", "best": null}', rng))
        campaign.judge(f"{case} {done}", listed, accepts=lambda text: text.count("75.0%") >= 2 and "\x1b" not in text)
        (study / "1" / "best.json").unlink(missing_ok=True)


def test_a_damaged_record_is_named(study, tmp_path, capsys, caplog):
    (study / "1" / "predictions.parquet").write_bytes(b"half")
    assert collect_runs(study)["variant"].unique().tolist() == ["a", "c"]
    assert f"Left out: {study / '1' / 'predictions.parquet'} is damaged" in caplog.text
    (study / "1" / "metrics.json").write_text("{")
    dashboard.main(["--list", str(study)])
    told = capsys.readouterr().out
    assert "Damaged: " in told and "metrics.json" in told
    for run in (study / name for name in "012"):
        (run / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"No record of a run in .* can be read: .*metrics\.json"):
        report_studies.main([str(study), "--to", str(tmp_path)])


def test_hostile_names_in_reports(campaign, tmp_path):
    """As cells of tables in Markdown, CSV and the terminal."""
    import csv
    import io

    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from fer_lightning.plots.text import csv_text, escape, markdown_line

    alphabet = [*"|\\`<>[]()!/=+-@\t\n\r\x1b\x07$\u202e*_", "script", "bold red", "&#124;", "é", "1", " ", "\udce9"]
    for case, rng in campaign.cases(quick=60, full=2000):
        name = "".join(alphabet[place] for place in rng.integers(0, len(alphabet), rng.integers(1, 12)))
        line = markdown_line(["a", name, "b"])
        bars = line.replace("\\|", "").count("|")
        campaign.held((case, name), bars == 4 and "\n" not in line and "<script" not in line, f"Markdown: {line!r}")
        (cell,) = list(
            csv.reader(
                io.StringIO(csv_text(pd.DataFrame({"x": pd.Series([name], dtype=object)}), index=False), newline="")
            )
        )[1]
        number = name.strip().lstrip("+-").isdigit()
        campaign.held((case, name), number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), f"CSV: {cell!r}")
        table = Table("name")
        table.add_row(escape(name))
        out = io.StringIO()
        Console(file=out, force_terminal=False, width=400).print(table)
        shown = out.getvalue()
        campaign.held((case, name), not any(c in shown for c in "\x1b\x07\r\u202e"), f"terminal: {shown!r}")
