from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lightning.commands import compare as compare_command
from fer_lightning.errors import UserError

SHARES = {"psysfa_full": 0.9, "psysfa_no_fusion": 0.7, "psysfa_band_low": 0.88}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, write_record) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    for number, (name, share) in enumerate(SHARES.items()):
        write_record(folder / str(number), [f"ablation={name}"], 0, rng.random(200) < share)
    return folder


def test_two_runs_in_the_terminal_and_nothing_is_written(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    compare_command.main([str(runs / "0"), str(runs / "1")])
    printed = capsys.readouterr().out
    for text in ("fer2013, test: 200 images", "psysfa_full", "psysfa_no_fusion", "(Holm)", "< 0.001", "McNemar"):
        assert text in printed
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("width", [140, 80, 60])
def test_the_first_run_of_a_pair_is_its_reference_at_any_width(width, runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    compare_command.main([str(runs / "0"), str(runs / "1")])
    printed = capsys.readouterr().out
    lines = {line.split()[1]: line for line in printed.splitlines() if line.startswith("│ psysfa")}
    assert "reference" in lines["psysfa_full"] and " -2" in lines["psysfa_no_fusion"] and "…" not in printed
    assert "minus" in printed and max(map(len, printed.splitlines())) <= width
    table = pd.DataFrame(compare_command.compare(runs / "0", runs / "1"))
    assert ("right" in lines["psysfa_full"]) is False
    shows_alone = f" {table['only_first'][0]} " in lines["psysfa_full"]
    assert shows_alone == ("right alone: images that only this run of the pair" in printed) == (width > 60)


def test_table_and_figure(runs, tmp_path, capsys):
    compare_command.main([str(runs), "--to", str(tmp_path / "to")])
    assert "Figure: " in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == [
        f"comparison.{end}" for end in ("csv", "md", "png")
    ]
    table = pd.read_csv(tmp_path / "to" / "comparison.csv")
    assert [*zip(table["first"], table["second"])] == [
        ("psysfa_full", "psysfa_no_fusion"),
        ("psysfa_full", "psysfa_band_low"),
        ("psysfa_no_fusion", "psysfa_band_low"),
    ]
    markdown = (tmp_path / "to" / "comparison.md").read_text()
    assert "| psysfa_full | " in markdown and "![fer2013, test: 200 images](comparison.png)" in markdown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0"], "needs the folders of two or more runs; got 1"),
        (["0", "0"], "needs the folders of two or more runs; got 1"),
        (["0", "nowhere"], "nowhere"),
        (["0", "1", "--split", "val"], "psysfa_full holds no predictions of split=val: use split=test"),
    ],
)
def test_what_cannot_be_compared(runs, monkeypatch, arguments, message):
    monkeypatch.chdir(runs)
    with pytest.raises(UserError, match=message):
        compare_command.main(arguments)


def test_it_needs_no_torch(runs):
    program = f"import sys; from fer_lightning import compare; compare({str(runs)!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
