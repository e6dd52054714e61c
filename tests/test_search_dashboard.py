from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from fer_lightning import dashboard, search_dashboard
from fer_lightning.errors import UserError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
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
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.fullmatch(
            rf"Optuna Dashboard of {sweep}: (http://127\.0\.0\.1:\d+/dashboard/)\n", process.stdout.readline()
        )
        assert found
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium or Chrome: apt-get install chromium")
def test_a_browser_shows_the_search_and_its_best_value(served):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(served)
        page.get_by_text("the search of monday").first.click()
        page.wait_for_url("**/dashboard/studies/1**")
        page.get_by_text(re.compile(rf"\b{BEST}\b")).first.wait_for()
        assert page.get_by_text("the search of monday").first.is_visible()
        browser.close()


class FakeServer:
    """Stands for the web server; is stopped by Ctrl-C at once."""

    server_port = 4711

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def serve_forever(self):
        raise KeyboardInterrupt


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Addresses that a web browser was sent to; nothing is served."""
    addresses: list[str] = []
    monkeypatch.setattr(search_dashboard, "make_server", lambda *arguments, **others: FakeServer())
    monkeypatch.setattr(search_dashboard.webbrowser, "open", addresses.append)
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
        "fer_lightning.search.storage.open_storage", lambda place, folder: optuna.create_study()._storage
    )
    dashboard.main(["--search", "postgresql://me:secret@host/searches"])
    assert "Optuna Dashboard of host/searches: " in capsys.readouterr().out


def test_no_search_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"holds no search with a study\.db: fer train -m hydra/sweeper=mboa"):
        dashboard.main(["--search", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


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
        found = {"objective": "val/loss", "trials": {"complete": 2, "fail": 1}, "best": {"trial": 1, "value": 0.123456}}
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
            ("alone", "-", "-", "-", "not finished"),
        }

    def test_the_trials_of_one_search(self, outputs, capsys):
        dashboard.main([str(outputs / "found"), "--list"])
        assert {cells[0] for cells in self.cells(capsys.readouterr().out)} == {".", "0", "1"}
