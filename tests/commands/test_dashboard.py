from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import optuna
import pytest

from fer_lightning.commands import dashboard
from fer_lightning.errors import UserError

LOG = """
import sys, wandb

for number in range(2):
    run = wandb.init(project="project", mode="offline", dir=sys.argv[1] + f"/run{number}", reinit="create_new")
    run.log({"val/accuracy": 0.5})
    run.finish()
"""


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
    (folder / "checkpoints").mkdir()
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
        ["multirun/0_seed=1", "0_seed=1", "-", "TensorBoard", "not finished", "1970-01-02 00:00"],
        ["resnet/monday", "resnet-fer2013", "-", "W&B (offline)", "65.4%", "1970-01-01 00:00"],
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


def test_runs_of_a_multirun_are_named_by_what_differs_finished_or_not(tmp_path, capsys):
    sweep = tmp_path / "rates"
    for number, rate in enumerate(("0.01", "0.001")):
        run = sweep / str(number)
        make_run(run, number, logged="wandb")
        (run / ".hydra").mkdir()
        typed = ["model=resnet", "data=fer2013", "trainer.max_epochs=3", f"optimizer.lr={rate}", "seed=2"]
        (run / ".hydra" / "overrides.yaml").write_text(json.dumps(typed))
    typed[3] = "optimizer.lr=0.01,0.001"
    (sweep / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": typed}}}))
    dashboard.main([str(tmp_path), "--list"])
    assert [row[1:5] for row in rows(capsys.readouterr().out)] == [
        [f"resnet, optimizer.lr={rate}-fer2013-s2", "rates", "W&B (offline)", "not finished"]
        for rate in ("0.001", "0.01")
    ]


def test_a_run_for_which_nothing_was_typed_has_the_name_of_its_network(tmp_path, capsys):
    make_run(tmp_path / "run", 0, logged="wandb")
    (tmp_path / "run" / ".hydra").mkdir()
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text("[]")
    dashboard.main([str(tmp_path), "--list"])
    assert [row[1] for row in rows(capsys.readouterr().out)] == ["psysfa_net-synthetic-s0"]


@pytest.mark.parametrize(("width", "columns"), [(140, 6), (80, 4), (60, 2)])
def test_names_and_folders_are_never_cut(width, columns, tmp_path, write_record, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    sweep = tmp_path / "multirun" / "2026-11-28_03-11-12"
    for number, name in enumerate(("psysfa_no_fusion", "psysfa_no_texture")):
        write_record(sweep / str(number), [f"ablation={name}"], 0, np.arange(200) < 90)
        (sweep / str(number) / "wandb" / "offline-run-1-abc").mkdir(parents=True)
        (sweep / str(number) / "wandb" / "offline-run-1-abc" / "run-abc.wandb").touch()
    (sweep / "multirun.yaml").write_text("{}")
    dashboard.main([str(tmp_path), "--list"])
    table, _, hint = capsys.readouterr().out.partition("W&B (offline): 2 runs are on this machine only; to upload: ")
    assert shlex.split(hint) == ["fer", "dashboard", str(tmp_path), "--sync"]
    shown = rows(table)
    assert {len(cells) for cells in shown} == {columns} and max(map(len, table.splitlines())) <= width
    for name in ("psysfa_no_fusion", "psysfa_no_texture"):
        assert any(f"{name}-fer2013-s0" in cells for cells in shown)
    assert any(cells[-1].startswith("1970" if columns == 1 else "20") for cells in shown) == (width > 60)
    assert [cells[0] for cells in shown if cells[0].startswith("multirun/2026-11-28_03-11-12/")]


def test_what_never_began_is_hidden_but_counted(tmp_path, capsys):
    for number in range(3):
        make_run(tmp_path / str(number), number, accuracy=0.5 if number == 1 else None)
    for number in (0, 2):
        (tmp_path / str(number) / "checkpoints").rmdir()
    dashboard.main([str(tmp_path), "--list"])
    printed = capsys.readouterr().out
    assert [row[0] for row in rows(printed)] == ["1"]
    assert "Hidden: 2 runs that ended before the first epoch; --all shows them." in printed
    dashboard.main([str(tmp_path), "--list", "--all"])
    assert [(row[0], row[4]) for row in rows(capsys.readouterr().out)] == [
        ("2", "never began"),
        ("1", "50.0%"),
        ("0", "never began"),
    ]


def test_a_run_in_its_first_epoch_is_shown(tmp_path, capsys):
    make_run(tmp_path / "now", time.time(), logged="wandb")
    (tmp_path / "now" / "checkpoints").rmdir()
    dashboard.main([str(tmp_path), "--list"])
    assert [row[4] for row in rows(capsys.readouterr().out)] == ["not finished"]


class TestPage:
    @pytest.fixture(scope="class")
    def page(self, trained_run, tmp_path_factory) -> str:
        """The page of a real run, of one that is not finished and of one whose folder has a strange name."""
        root = tmp_path_factory.mktemp("page")
        shutil.copytree(trained_run, root / "real")
        make_run(root / "<b>odd & new", 1, accuracy=0.5)
        make_run(root / "stopped", 0, logged="wandb")
        (root / "stopped" / ".hydra").mkdir()
        (root / "stopped" / ".hydra" / "overrides.yaml").write_text("[model=vit, seed=3]")
        (root / "report").mkdir()
        (root / "report" / "index.html").touch()
        dashboard.main([str(root)])
        return (root / "dashboard.html").read_text()

    def test_curves_come_first_and_then_the_scores(self, page, trained_run):
        metrics = json.loads((trained_run / "metrics.json").read_text())
        assert page.index('<img src="data:image/svg+xml;base64,') < page.index("<table")
        assert f"{100 * metrics['splits']['test']['accuracy']:.1f} %" in page
        assert ">resnet, data.batch_size=8, data.image_size=32, model.widths=[8,8,8,8]-folder-s0<" in page

    def test_runs_that_are_not_finished_are_named(self, page):
        assert re.search(r"<td>vit-synthetic-s3</td>.*?<td>not finished</td>", page, re.DOTALL)

    def test_reports_are_linked(self, page):
        assert re.search(r'<a href="file://[^"]*/report/index.html">[^<]*/report</a>', page)

    def test_own_runs_and_reports_come_before_published_records(self, tmp_path, write_record, monkeypatch):
        monkeypatch.chdir(tmp_path)
        study = ["study=psysfa_table6", "budget=smoke", "ablation=psysfa_full"]
        write_record(tmp_path / "outputs" / "study" / "0", study, 0, np.arange(200) < 90)
        names = ["psysfa_table6_fer2013_pilot", "psysfa_table6_fer2013_smoke"]
        for name in names:
            (tmp_path / "experiments" / "psysfa_net" / name).mkdir(parents=True)
            (tmp_path / "experiments" / "psysfa_net" / name / "index.html").touch()
        dashboard.main([])
        page = (tmp_path / "outputs" / "dashboard.html").read_text()
        published, own = (page.index(f"experiments/psysfa_net/{name}</a>") for name in names)
        assert own < page.index("psysfa_full-fer2013-s0") < page.index("Published records in") < published
        assert page.count("index.html") == 2

    def test_no_name_is_markup(self, page):
        assert "<b>odd" not in page and "&lt;b&gt;odd &amp; new" in page

    def test_a_browser_shows_it(self, page, tmp_path, open_browser):
        (tmp_path / "page.html").write_text(page)
        with open_browser() as browser:
            shown = browser.new_page()
            shown.goto((tmp_path / "page.html").as_uri())
            assert shown.locator("tbody tr").count() == 3
            assert shown.locator("figure img").evaluate("image => image.naturalWidth > 300")


class TestSync:
    @pytest.fixture(autouse=True)
    def nobody(self, monkeypatch, tmp_path):
        """Nobody is logged in to W&B here."""
        for name in ("WANDB_API_KEY", "WANDB_MODE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    def test_without_a_login_the_commands_are_printed_and_refused(self, tmp_path, capsys):
        for number in range(3):
            make_run(tmp_path / f"my run{number}", number, logged="wandb")
        (tmp_path / "my run0" / "wandb" / "offline-run-0-abc" / "run-abc.wandb.synced").touch()
        with pytest.raises(UserError, match="needs a login and a network to upload 2 runs, by the commands above"):
            dashboard.main([str(tmp_path), "--sync"])
        commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
        assert [command[:2] for command in commands] == [["wandb", "sync"]] * 2
        assert [Path(command[2]) for command in commands] == [
            tmp_path / f"my run{number}" / "wandb" / f"offline-run-{number}-abc" for number in (1, 2)
        ]

    def test_with_a_login_the_same_folders_are_uploaded(self, tmp_path, monkeypatch):
        """The real command of W&B, which tells a server that is not there."""
        subprocess.run([sys.executable, "-c", LOG, tmp_path], check=True, timeout=300, env={**os.environ})
        commands = []
        monkeypatch.setattr("fer_lightning.training.wandb_logger.choose_mode", lambda mode: "online")
        monkeypatch.setattr(subprocess, "call", lambda command: commands.append(command) or 0)
        dashboard.main([str(tmp_path), "--sync"])
        (command,) = commands
        assert command[1:4] == ["-m", "wandb", "sync"] and len(command) == 6
        dry = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, timeout=300)
        assert dry.returncode == 0, dry.stderr
        assert all(Path(folder).name in " ".join((dry.stdout + dry.stderr).split()) for folder in command[4:])

    def test_nothing_to_upload_is_a_sentence(self, tmp_path):
        make_run(tmp_path / "run", 0, accuracy=0.5)
        with pytest.raises(UserError, match="--sync needs a run that was logged offline and not uploaded yet"):
            dashboard.main([str(tmp_path), "--sync"])


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

    def test_runs_without_a_log_have_their_page(self, tmp_path, called, capsys):
        make_run(tmp_path / "run", 0, accuracy=0.5)
        dashboard.main([str(tmp_path), "--no-browser"])
        assert f"Curves and scores: {(tmp_path / 'dashboard.html').as_uri()}" in capsys.readouterr().out
        assert called == []

    def test_the_page_opens_where_there_is_a_screen(self, tmp_path, called, monkeypatch):
        opened: list[str] = []
        monkeypatch.setattr(dashboard, "has_screen", lambda: True)
        monkeypatch.setattr(dashboard.webbrowser, "open", opened.append)
        make_run(tmp_path / "run", 0, accuracy=0.5)
        dashboard.main([str(tmp_path)])
        assert opened == [(tmp_path / "dashboard.html").as_uri()]

    def test_a_failing_viewer_is_not_hidden(self, tmp_path, monkeypatch):
        monkeypatch.setattr(subprocess, "call", lambda command: 3)
        make_run(tmp_path / "run", 0, logged="wandb")
        with pytest.raises(SystemExit, match="3"):
            dashboard.main([str(tmp_path)])


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
