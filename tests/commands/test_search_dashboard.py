from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Timer

import optuna
import pytest

from fer_lightning.commands import dashboard
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.search import report

BEST = 0.73519


def make_study(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name=name, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for value in (1.5, BEST, 0.9, 1.1):
        trial = study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)})
        study.tell(trial, value)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs") / "multirun" / "monday"
    make_study(folder, "the search of monday")
    return folder


@pytest.fixture
def served(sweep: Path) -> Iterator[str]:
    """Address where `fer dashboard --search` serves the newest search below the folder of all runs."""
    command = [sys.executable, "-m", "fer_lightning", "dashboard", "--search", "--no-browser", str(sweep.parents[1])]
    # A process that a shell started in the background ignores Ctrl-C, and so would this one.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed)
    hangs = Timer(120, process.kill)  # which ends what is read
    hangs.start()
    try:
        assert process.stdout is not None
        found = re.fullmatch(
            rf"Optuna Dashboard of {sweep}: (http://127\.0\.0\.1:\d+/dashboard/)\n", process.stdout.readline()
        )
        hangs.cancel()
        assert found
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        hangs.cancel()
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_browser_shows_the_search_and_its_best_value(open_browser, served):
    with open_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(served)
        page.get_by_text("the search of monday").first.click()
        page.wait_for_url("**/dashboard/studies/1**")
        page.get_by_text(re.compile(rf"\b{BEST}\b")).first.wait_for()
        assert page.get_by_text("the search of monday").first.is_visible()


class FakeServer:
    """Stands for the web server."""

    server_port = 4711

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def serve_forever(self):
        return None

    def shutdown(self):
        return None


class CtrlC:
    """Stands for what a server waits for until Ctrl-C, which comes at once."""

    def wait(self):
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No storage in the environment, and no test that waits for ever."""
    monkeypatch.delenv("FER_SWEEP_STORAGE", raising=False)
    monkeypatch.setattr(report, "Event", CtrlC)


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Addresses that a web browser was sent to; nothing is served."""
    addresses: list[str] = []
    monkeypatch.setattr(report, "make_server", lambda *arguments, **others: FakeServer())
    monkeypatch.setattr(report.webbrowser, "open", addresses.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    return addresses


def test_a_web_browser_is_opened_where_there_is_a_screen(sweep, opened, monkeypatch):
    dashboard.main(["--search", str(sweep)])
    assert opened == ["http://127.0.0.1:4711/dashboard/"]
    dashboard.main(["--search", str(sweep), "--no-browser"])
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setattr(sys, "platform", "linux")
    dashboard.main(["--search", str(sweep)])
    assert len(opened) == 1


def test_the_search_that_changed_last_is_shown(tmp_path, opened, capsys):
    for name, when in (("monday", 2000), ("sunday", 1000)):
        make_study(tmp_path / name, name)
        os.utime(tmp_path / name / "study.db", (when, when))
    dashboard.main(["--search", str(tmp_path)])
    assert capsys.readouterr().out.startswith(f"Optuna Dashboard of {tmp_path}/monday: http")


@pytest.mark.parametrize("place", ["{folder}/study.db", "sqlite:///{folder}/study.db"])
def test_a_storage_can_be_named(sweep, place, opened, capsys):
    dashboard.main(["--search", place.format(folder=sweep)])
    assert str(sweep) in capsys.readouterr().out


def test_a_password_is_not_printed(opened, monkeypatch, capsys):
    monkeypatch.setattr(
        "fer_lightning.search.storage.open_storage", lambda place, folder, option: optuna.create_study()._storage
    )
    dashboard.main(["--search", "postgresql://me:secret@host/searches"])
    assert "Optuna Dashboard of host/searches: " in capsys.readouterr().out


def test_no_search_is_a_sentence(tmp_path):
    with pytest.raises(
        UserError, match=r"must contain a search with a study\.db; got none: run fer train -m hydra/sweeper=optuna"
    ):
        dashboard.main(["--search", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place", ["sqlite:///nope.db", "sqlite:///{folder}/nope.db", "sqlite://", "sqlite:///:memory:"]
)
def test_a_database_file_that_is_not_there_is_not_made(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = place.format(folder=tmp_path)
    with pytest.raises(UserError, match=f"^--search {re.escape(place)} does not exist: use an existing study.db"):
        dashboard.main(["--search", place])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [b"", b"hello", b"hello\nworld\n", b"[1]\n", b'{"lr": 1}\n', b"\x80\n\x81\n"])
@pytest.mark.parametrize("name", ["notes.txt", "notes.db"])
def test_a_file_that_is_no_search_is_a_sentence(name, text, tmp_path):
    path = tmp_path / name
    path.write_bytes(text)
    with pytest.raises(
        UserError, match=f"^--search {re.escape(str(path))} must (contain a search|be the database|be a database)"
    ):
        dashboard.main(["--search", str(path)])
    assert path.read_bytes() == text and list(tmp_path.iterdir()) == [path]


def test_the_database_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "faces.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE faces (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"must be the database of a search, .*no such table: studies"):
        dashboard.main(["--search", str(path)])
    assert path.read_bytes() == before


def test_a_database_without_a_search_is_a_sentence(tmp_path):
    path = tmp_path / "study.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    with pytest.raises(UserError, match=f"^--search {path} must contain a search; got none: run fer train -m"):
        dashboard.main(["--search", str(path)])


def test_a_journal_can_be_named(tmp_path, opened, capsys):
    path = tmp_path / "first.log"
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    optuna.create_study(storage=journal)
    dashboard.main(["--search", str(path)])
    assert capsys.readouterr().out.startswith(f"Optuna Dashboard of {path}: http")


class TestStorageOfTheEnvironment:
    def test_is_shown_and_named_where_none_is_typed(self, sweep, tmp_path, opened, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("FER_SWEEP_STORAGE", f"sqlite:///{sweep}/study.db")
        dashboard.main(["--search"])
        told = capsys.readouterr().out
        assert told.startswith(f"Optuna Dashboard of sqlite:///{sweep}/study.db (FER_SWEEP_STORAGE): http")

    def test_gives_way_to_what_is_typed(self, sweep, opened, monkeypatch, capsys):
        monkeypatch.setenv("FER_SWEEP_STORAGE", "sqlite:///nope.db")
        dashboard.main(["--search", str(sweep)])
        assert capsys.readouterr().out.startswith(f"Optuna Dashboard of {sweep}: http")

    @pytest.mark.parametrize("place", ["sqlite:///nope.db", "nope.log"])
    def test_that_does_not_exist_is_not_made(self, place, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("FER_SWEEP_STORAGE", place)
        with pytest.raises(UserError, match=f"^FER_SWEEP_STORAGE={place}"):
            dashboard.main(["--search"])
        assert list(tmp_path.iterdir()) == []

    def test_that_cannot_be_reached_is_named(self, monkeypatch):
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        monkeypatch.setenv("FER_SWEEP_STORAGE", "postgresql://me:secret@127.0.0.1:1/search")
        with pytest.raises(UserError, match=r"^FER_SWEEP_STORAGE=postgresql://127\.0\.0\.1:1/search cannot be reached"):
            dashboard.main(["--search"])

    def test_comes_from_the_variable_of_the_sweeper(self):
        sweeper = (conf_dir() / "hydra" / "sweeper" / "optuna.yaml").read_text()
        assert f"storage: ${{oc.env:{report.STORAGE},null}}" in sweeper


def test_a_typed_url_that_cannot_be_reached_names_what_was_typed(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UserError, match=r"^--search postgresql://127\.0\.0\.1:1/search cannot be reached"):
        dashboard.main(["--search", "postgresql://me:secret@127.0.0.1:1/search"])


def test_without_a_folder_the_newest_search_of_outputs_is_shown(tmp_path, opened, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path / "outputs" / "monday", "monday")
    dashboard.main(["--search"])
    assert capsys.readouterr().out.startswith("Optuna Dashboard of outputs/monday: http")


def test_a_taken_port_is_a_sentence(sweep):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} cannot be used"):
            dashboard.main(["--search", str(sweep), "--port", str(port)])


class TestList:
    @pytest.fixture(autouse=True)
    def wide(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "160")

    @pytest.fixture
    def outputs(self, tmp_path: Path) -> Path:
        """One run, a finished search of two trials, one that found nothing, and one under way."""
        for run in ("alone", "found/0", "found/1", "running/0"):
            (tmp_path / run).mkdir(parents=True)
            (tmp_path / run / "config.yaml").touch()
        (tmp_path / "running" / "study.db").touch()
        (tmp_path / "nothing").mkdir()
        best = {"trial": 1, "value": 0.123456, "parameters": {"optimizer.lr": 0.1}}
        found = {"objective": "val/loss", "direction": "minimize", "trials": {"complete": 2, "fail": 1}, "best": best}
        (tmp_path / "found" / "best.json").write_text(json.dumps(found))
        (tmp_path / "nothing" / "best.json").write_text(json.dumps({**found, "trials": {"fail": 3}, "best": None}))
        return tmp_path

    def cells(self, text: str) -> set[tuple[str, ...]]:
        lines = [line for line in text.splitlines() if line.startswith("│")]
        return {tuple(cell.strip() for cell in line.strip("│").split("│"))[:-1] for line in lines}

    def test_searches_stand_for_their_trials(self, outputs, capsys):
        dashboard.main([str(outputs), "--list"])
        assert self.cells(capsys.readouterr().out) == {
            ("found", "val/loss", "3", "0.12346", "1"),
            ("nothing", "val/loss", "3", "none complete", "-"),
            ("running", "-", "-", "not finished", "-"),
            ("alone", "alone", "-", "-", "not finished"),
        }

    def test_the_trials_of_one_search(self, outputs, capsys):
        dashboard.main([str(outputs / "found"), "--list"])
        assert {cells[0] for cells in self.cells(capsys.readouterr().out)} == {".", "0", "1"}
