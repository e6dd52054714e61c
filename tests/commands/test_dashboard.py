from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import optuna
import pytest

from fer_lightning.commands import dashboard
from fer_lightning.errors import UserError


def make_run(folder: Path, when: float, accuracy: float | None = None, logged: str = "") -> None:
    folder.mkdir(parents=True)
    files = [folder / "config.yaml"]
    if logged == "wandb":
        files.append(folder / "wandb" / f"offline-run-{when:.0f}-abc" / "run-abc.wandb")
    if logged == "tensorboard":
        files.append(folder / "tensorboard" / "events.out.tfevents.1.host")
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    if accuracy is not None:
        told = dict.fromkeys(("release", "label_rule", "split", "selection", "test", "fingerprint"), "-")
        protocol = {"dataset": "fer2013", "classes": ["happy", "sad"], "counts": {}, **told}
        metrics = {"protocol": protocol, "model": "ResNet", "splits": {"test": {"accuracy": accuracy}}}
        files.append(folder / "metrics.json")
        files[-1].write_text(json.dumps(metrics))
    for file in files:
        os.utime(file, (when, when))


def rows(text: str) -> list[list[str]]:
    """Cells of a printed table."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_lists_the_newest_run_first(tmp_path, capsys):
    make_run(tmp_path / "resnet" / "monday", 0, accuracy=0.6543, logged="wandb")
    make_run(tmp_path / "multirun" / "0_seed=1", 86400, logged="tensorboard")
    dashboard.main([str(tmp_path), "--list"])
    assert rows(capsys.readouterr().out) == [
        ["multirun/0_seed=1", "-", "-", "TensorBoard", "not finished", "1970-01-02 00:00"],
        ["resnet/monday", "fer2013", "ResNet", "W&B", "65.4%", "1970-01-01 00:00"],
    ]


def test_a_single_run_can_be_named(tmp_path, capsys):
    make_run(tmp_path / "a", 0, accuracy=0.5)
    make_run(tmp_path / "b", 0, accuracy=0.6)
    dashboard.main([str(tmp_path / "b"), "--list"])
    assert [row[4] for row in rows(capsys.readouterr().out)] == ["60.0%"]


def test_without_a_terminal_it_lists(tmp_path, capsys, monkeypatch):
    monkeypatch.delattr(subprocess, "call")
    make_run(tmp_path / "a", 0, accuracy=0.5, logged="wandb")
    dashboard.main([str(tmp_path)])
    assert len(rows(capsys.readouterr().out)) == 1


@pytest.mark.parametrize("arguments", [["nowhere"], ["nowhere", "--list"]])
def test_nothing_logged_yet_is_a_sentence(arguments):
    with pytest.raises(UserError, match=r"^nowhere must contain a run; none was found: run fer train first\.$"):
        dashboard.main(arguments)


class TestViewer:
    @pytest.fixture(autouse=True)
    def terminal(self, monkeypatch):
        monkeypatch.setattr(dashboard, "_on_a_terminal", lambda: True)

    @pytest.fixture
    def called(self, monkeypatch) -> list[list[str]]:
        """Commands that were called; links in a folder among their arguments are followed as long as they exist."""
        commands = []

        def call(command):
            linked = [str(link.resolve()) for link in sorted(Path(command[-1]).glob("*run-*"))]
            commands.append(command[1:-1] + (linked or [command[-1]]))
            return 0

        monkeypatch.setattr(subprocess, "call", call)
        return commands

    def test_wandb_is_preferred_and_shows_all_runs(self, tmp_path, called):
        for number, logged in enumerate(("wandb", "tensorboard", "wandb")):
            make_run(tmp_path / f"run{number}", number, logged=logged)
        dashboard.main([str(tmp_path)])
        expected = [f"{tmp_path}/run{number}/wandb/offline-run-{number}-abc" for number in (0, 2)]
        assert called == [["-m", "wandb", "leet", *expected]]

    def test_the_search_is_served_beside_the_runs_as_long_as_they_are_shown(self, tmp_path, monkeypatch, capsys):
        make_run(tmp_path / "sweep" / "0", 0, logged="wandb")
        optuna.create_study(storage=f"sqlite:///{tmp_path / 'sweep' / 'study.db'}", study_name="the search")
        served = []

        def view(command):
            served.append(re.search(r"http://\S+", capsys.readouterr().out)[0])
            with urllib.request.urlopen(served[0].replace("dashboard/", "api/studies"), timeout=60) as answer:
                assert b"the search" in answer.read()
            return 0

        monkeypatch.setattr(subprocess, "call", view)
        dashboard.main([str(tmp_path), "--no-browser"])
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(served[0], timeout=5)

    def test_tensorboard_where_there_is_nothing_else(self, tmp_path, called):
        make_run(tmp_path / "run", 0, logged="tensorboard")
        dashboard.main([str(tmp_path)])
        assert called == [["-m", "tensorboard.main", "--logdir", str(tmp_path)]]

    def test_runs_without_a_log_are_listed(self, tmp_path, called, capsys):
        make_run(tmp_path / "run", 0, accuracy=0.5)
        with pytest.raises(UserError, match="logger=wandb"):
            dashboard.main([str(tmp_path)])
        assert len(rows(capsys.readouterr().out)) == 1
        assert called == []

    def test_a_failing_viewer_is_not_hidden(self, tmp_path, monkeypatch):
        monkeypatch.setattr(subprocess, "call", lambda command: 3)
        make_run(tmp_path / "run", 0, logged="wandb")
        with pytest.raises(SystemExit, match="3"):
            dashboard.main([str(tmp_path)])


LOG = """
import sys, wandb

for number in range(2):
    run = wandb.init(project="project", mode="offline", dir=sys.argv[1] + f"/run{number}", reinit="create_new")
    run.log({"val/accuracy": 0.5})
    run.finish()
"""


@pytest.mark.slow
def test_the_viewer_opens_in_a_real_terminal(tmp_path):
    for number in range(2):
        (tmp_path / f"run{number}").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm-256color"}
    subprocess.run([sys.executable, "-c", LOG, tmp_path], env=environment, check=True, timeout=300)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    subprocess.run(["stty", "rows", "40", "cols", "120"], stdin=theirs, check=True)
    command = [sys.executable, "-m", "fer_lightning", "dashboard", str(tmp_path)]
    viewer = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 120
    try:
        while b"2 items" not in shown and time.monotonic() < deadline and viewer.poll() is None:
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65536)
        assert b"2 items" in shown, shown
        os.write(ours, b"q")
        while viewer.poll() is None and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                try:
                    os.read(ours, 65536)  # a full terminal would hold up the viewer
                except OSError:  # it has closed its side
                    break
        assert viewer.wait(timeout=60) == 0
    finally:
        viewer.kill()
        os.close(ours)
