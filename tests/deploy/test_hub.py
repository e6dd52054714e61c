from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from urllib.parse import unquote

import huggingface_hub
import numpy as np
import pytest

from fer_lightning.deploy import hub
from fer_lightning.errors import UserError
from fer_lightning.inference.classifier import open_classifier
from fer_lightning.inference.predictor import Predictor
from fer_lightning.training import safetensors_weights
from fer_lightning.training.checkpoints import load_net


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


class Hub(ThreadingHTTPServer):
    """Stand-in for the hub's HTTP interface: creates repositories, takes commits, and serves files by revision."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repositories = {}  # name -> revision -> file -> content
        self.private, self.gated, self.served = set(), set(), []

    def commit(self, name, files):
        """Adds files to a repository and returns the commit."""
        revisions = self.repositories.setdefault(name, {"main": {}})
        revisions["main"] = {**revisions["main"], **files}
        commit = hashlib.sha1(repr(revisions["main"]).encode()).hexdigest()
        revisions[commit] = revisions["main"]
        return commit


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        size = int(self.headers["Content-Length"] or 0)
        text = self.rfile.read(size).decode()
        if self.headers["Authorization"] != "Bearer hf_test":
            self.answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            asked = json.loads(text)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.commit(name, {})
            self.answer(200, {"url": f"{self.server.endpoint}/{name}"})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            names = [file["path"] for file in json.loads(text)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer(200, {"files": [{"path": name, **modes} for name in names]})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            parts = [json.loads(line) for line in text.splitlines()]
            files = {
                part["value"]["path"]: base64.b64decode(part["value"]["content"])
                for part in parts
                if part["key"] == "file"
            }
            commit = self.server.commit(match[1], files)
            address = f"{self.server.endpoint}/{match[1]}/commit/{commit}"
            self.answer(200, {"commitUrl": address, "commitOid": commit, "hookOutput": "", "success": True})
        else:
            self.answer(404, {"error": self.path})

    def do_GET(self):
        self.server.served.append((self.command, self.path))
        file_of = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        content_of = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?()", self.path)
        if (match := file_of or content_of) is None:
            self.answer(200)
            return
        name, revision, file = (unquote(part or "") for part in match.groups())
        revision = revision or "main"
        revisions = self.server.repositories.get(name)
        if revisions is None or (name in self.server.private and not self.headers["Authorization"]):
            # The hub does not say which of them it is.
            self.answer(401, {"error": "Invalid username or password."}, X_Error_Code="RepoNotFound")
        elif name in self.server.gated and file:
            self.answer(403, {"error": "Access is restricted"}, X_Error_Code="GatedRepo")
        elif revision not in revisions:
            self.answer(404, {"error": "Revision not found"}, X_Error_Code="RevisionNotFound")
        elif not file:
            self.answer(200, {"id": name, "siblings": [{"rfilename": each} for each in revisions[revision]]})
        else:
            files = revisions[revision]
            commit = next(key for key, value in revisions.items() if value == files and len(key) == 40)
            if file not in files:
                self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
                return
            tag = f'"{hashlib.sha256(files[file]).hexdigest()}"'
            self.answer(200, files[file], X_Repo_Commit=commit, ETag=tag)

    do_HEAD = do_GET


@pytest.fixture
def local_hub(monkeypatch, tmp_path):
    """The stand-in, with which huggingface_hub speaks, and an empty cache."""
    with Hub() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        speak_with(monkeypatch, server.endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
        server.shutdown()
    safetensors_weights._download.cache_clear()


def speak_with(monkeypatch, endpoint):
    """What HF_ENDPOINT does at the start of a process."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    safetensors_weights._download.cache_clear()


FACES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)


def test_what_export_pushes_is_loaded_evaluated_and_exported_again(
    fer, trained_run, tiny_folder, local_hub, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    options = [f"data.root={tiny_folder}", f"hydra.run.dir={tmp_path / 'out'}"]
    formats = "format=[safetensors,onnx,int8]"
    assert fer("export", f"checkpoint={trained_run}", formats, "push=user/faces", *options) == 0
    assert f"Uploaded: {local_hub.endpoint}/user/faces" in capsys.readouterr().out
    card = local_hub.repositories["user/faces"]["main"]["README.md"].decode()
    assert 'Predictor("hf:user/faces")("photo.jpg")' in card
    # Somebody adds what would run code if it were loaded.
    evil = {"model.ckpt": b"cos\nsystem\n", "pytorch_model.bin": b"cos\nsystem\n", "modeling.py": b"raise SystemExit"}
    first = local_hub.commit("user/faces", evil)
    wanted = open_classifier(str(trained_run)).probabilities(FACES)
    with Predictor("hf:user/faces", detect=False) as predictor:
        assert predictor.classifier.backend == "torch" and predictor.classifier.card["source"] == "hf:user/faces"
        np.testing.assert_allclose(predictor.classifier.probabilities(FACES), wanted, atol=1e-6)
        (face,) = predictor(FACES[0, :, :, 0])
        assert face.label == predictor.classes[wanted[0].argmax()]
    by_onnx = open_classifier("hf:user/faces", "onnxruntime")
    assert (by_onnx.backend, by_onnx.precision) == ("onnxruntime", "float32")
    np.testing.assert_allclose(by_onnx.probabilities(FACES), wanted, atol=1e-4)
    assert open_classifier("hf:user/faces/model_int8.onnx").precision == "int8"
    files = {path.rpartition("/")[2] for command, path in local_hub.served if command == "GET" and "resolve" in path}
    assert files == {"model.safetensors", "model.onnx", "model_int8.onnx"}

    assert fer("verify", "hf:user/faces") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ok"] * 3 and lines[1].endswith("as in the Hugging Face hub")

    # Each revision is another net.
    other = local_hub.commit(
        "user/faces", {"model.safetensors": local_hub.repositories["user/faces"]["main"]["model.onnx"]}
    )
    assert other != first
    safetensors_weights._download.cache_clear()
    np.testing.assert_allclose(open_classifier(f"hf:user/faces@{first}").probabilities(FACES), wanted, atol=1e-6)
    with pytest.raises(UserError, match=r"is damaged, or was not written by fer export"):
        open_classifier("hf:user/faces")

    name = f"checkpoint=hf:user/faces@{first}"
    calm = ["trainer=cpu", "trainer.enable_progress_bar=false", f"data.root={tiny_folder}"]
    assert fer("evaluate", name, *calm, f"hydra.run.dir={tmp_path / 'evaluated'}") == 0
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (trained_run, tmp_path / "evaluated"))
    assert two["splits"]["test"]["accuracy"] == one["splits"]["test"]["accuracy"]
    assert two["checkpoint"] == f"hf:user/faces@{first}"
    assert fer("export", name, "format=onnx", f"data.root={tiny_folder}", f"hydra.run.dir={tmp_path / 'again'}") == 0
    again = open_classifier(str(tmp_path / "again" / "model.onnx"))
    np.testing.assert_allclose(again.probabilities(FACES), wanted, atol=1e-4)


PROGRAM = """
import sys
sys.modules["torch"] = None  # as where it is not installed
import numpy as np
from fer_lightning import Predictor
net = Predictor("hf:user/faces", detect=False)
print(net.classifier.backend, net.classifier.probabilities(np.zeros((1, 32, 32, 1), np.uint8)).round(4).tolist())
"""


def test_offline_the_cache_is_used(local_hub, trained_run, fer, tmp_path):
    """In processes of their own, which read the hub's environment variables; without PyTorch."""
    assert fer("export", f"checkpoint={trained_run}", f"hydra.run.dir={tmp_path / 'out'}") == 0
    local_hub.commit("user/faces", {"model.onnx": (tmp_path / "out" / "model.onnx").read_bytes()})
    place = {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_HUB_CACHE": str(tmp_path / "cache")}

    def run(**more):
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.run(command, env={**place, **more}, capture_output=True, text=True, timeout=120)

    empty = run(HF_HUB_OFFLINE="1")
    assert empty.returncode == 1 and "hf:user/faces is not in the cache of the Hugging Face hub" in empty.stderr
    online = run()
    assert online.stdout.startswith("onnxruntime [["), online.stderr
    local_hub.served.clear()
    assert run(HF_HUB_OFFLINE="1").stdout == online.stdout and local_hub.served == []
    # A network that fails is like none.
    assert run(HF_ENDPOINT="http://127.0.0.1:9").stdout == online.stdout


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf:nobody/nothing", "hf:nobody/nothing does not exist, or is private: .* hf auth login or HF_TOKEN"),
        ("hf:user/private", "hf:user/private does not exist, or is private"),
        ("hf:user/gated", r"hf:user/gated needs the consent of its authors: ask for it at http://127.*/user/gated"),
        ("hf:user/other", r"hf:user/other must hold model.safetensors or model.onnx or model_int8.onnx, as fer export"),
        ("hf:user/other@v2", "user/other has no branch, tag or commit v2"),
        ("hf:user/other/net.onnx", r"hf:user/other/net.onnx must hold net.onnx"),
        ("hf:user", "must name a repository of the Hugging Face hub: hf:user/name, hf:user/name@revision"),
        ("hf:user/other/pytorch_model.bin", "must name a repository"),
        ("hf:../../etc/passwd", "must name a repository"),
    ],
)
def test_what_cannot_be_loaded(local_hub, source, message):
    local_hub.commit("user/other", {"pytorch_model.bin": b"cos\nsystem\n"})
    local_hub.commit("user/private", {"model.onnx": b""})
    local_hub.commit("user/gated", {"model.onnx": b""})
    local_hub.private.add("user/private")
    local_hub.gated.add("user/gated")
    with pytest.raises(UserError, match=message) as error:
        open_classifier(source)
    assert "\n" not in str(error.value)


def test_without_a_network(local_hub, monkeypatch):
    speak_with(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"is not in the cache of the Hugging Face hub, and http://127.0.0.1:9 cannot be"
    ):
        load_net("hf:user/faces")


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"hf:user/faces needs huggingface_hub: pip install 'fer_lightning\[hub\]'"):
        open_classifier("hf:user/faces")


def test_onnx_alone_is_for_prediction(local_hub, fer, capsys):
    local_hub.commit("user/faces", {"model.onnx": b"onnx"})
    with pytest.raises(UserError, match="hf:user/faces is an ONNX file, which fer predict and Predictor read"):
        load_net("hf:user/faces")
    assert fer("evaluate", "checkpoint=hf:nobody/nothing") == 2
    assert "fer evaluate: checkpoint=hf:nobody/nothing does not exist, or is private" in capsys.readouterr().err
