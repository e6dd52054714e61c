from __future__ import annotations

import time
from types import SimpleNamespace

import huggingface_hub
import pytest

from fer_lightning.deploy import hub
from fer_lightning.errors import UserError


@pytest.fixture
def logged_in(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_none")


@pytest.mark.parametrize("name", ["name", "user/", "https://huggingface.co/user/name", "user/my net"])
def test_what_is_no_repository(name):
    with pytest.raises(UserError, match="push must be the name of a repository, user/name"):
        hub.require_access(name)


def test_nobody_is_logged_in(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UserError, match="needs a login"):
        hub.require_access("user/name")


def test_a_hub_that_never_answers_is_given_up(logged_in, monkeypatch):
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    monkeypatch.setattr(hub, "_answers", lambda endpoint: time.sleep(5))
    started = time.monotonic()
    with pytest.raises(UserError, match="cannot be reached"):
        hub.require_access("user/name")
    assert time.monotonic() - started < 3


def test_a_hub_that_refuses_the_connection(logged_in, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 cannot be reached"):
        hub.require_access("user/name")


def test_only_the_named_files_go(monkeypatch, tmp_path):
    sent = {}
    api = SimpleNamespace(
        create_repo=lambda repository, exist_ok: f"https://hub/{repository}",
        upload_folder=lambda **all_: sent.update(all_),
    )
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    assert hub.push(tmp_path, ["README.md", "model.onnx"], "user/name") == "https://hub/user/name"
    assert sent == {"repo_id": "user/name", "folder_path": tmp_path, "allow_patterns": ["README.md", "model.onnx"]}


def test_a_refusal_keeps_its_words_and_tells_where_the_files_are(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise RuntimeError("403 Forbidden\nand much more")

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(create_repo=refuse))
    with pytest.raises(UserError, match=r"403 Forbidden; the files are in") as told:
        hub.push(tmp_path, [], "user/name")
    assert "much more" not in str(told.value)
