from __future__ import annotations

from typing import Literal

import pytest
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from fer_lightning.deploy import demo_gate
from fer_lightning.deploy.demo_gate import Call, Gate, UploadedPicture
from fer_lightning.deploy.demo_memory import PictureStore

JOIN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"


class Read(Call):
    fn_index: Literal[0]
    data: tuple[UploadedPicture | None, Literal["a", "b"]]


@pytest.fixture
def client() -> TestClient:
    """A gate before a page that answers with what it received."""

    async def page(scope, receive, send):
        request = Request(scope, receive)
        received = await request.json() if request.method == "POST" else str(request.url.path)
        await JSONResponse(received)(scope, receive, send)

    return TestClient(Gate(page, TypeAdapter(Read), PictureStore(5000), 1000, uploads_a_minute=5))


def upload(client: TestClient, content: bytes = b"picture", kind: str = "image/png"):
    return client.post(UPLOAD, files={"files": ("../../a.png", content, kind)})


def call(name: object, **more: object) -> dict[str, object]:
    return {"fn_index": 0, "session_hash": "s1", "data": [name, "a"], **more}


def test_a_picture_is_kept_under_a_name_and_handed_out(client):
    (name,) = upload(client).json()
    answer = client.get(f"/gradio_api/file={name}")
    assert answer.content == b"picture" and answer.headers["Content-Type"] == "image/png"
    (name,) = upload(client, b"<script>", "text/html").json()  # a browser must not run what a visitor uploads
    assert client.get(f"/gradio_api/file={name}").headers["Content-Type"] == "application/octet-stream"
    assert client.get("/gradio_api/file=0123").status_code == 404


def test_gradio_gets_what_the_schema_knows_and_nothing_else(client):
    (name,) = upload(client).json()
    tricky = {"path": name, "url": "http://a.example", "orig_name": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    answer = client.post(JOIN, json=call(tricky, event_id="x", batched=True, oauth_token="x", trigger_id=99))
    assert answer.json() == {"fn_index": 0, "session_hash": "s1", "data": [{"path": name}, "a"], "event_data": None}


def test_a_call_reads_only_what_its_own_page_uploaded(client):
    (name,) = upload(client).json()
    assert client.post(JOIN, json=call({"path": name})).status_code == 200
    assert client.post(JOIN, json=call({"path": name}, session_hash="s2")).status_code == 403
    for path in ("/etc/passwd", "/proc/self/environ", "http://a.example/a.png", "file:///etc/passwd", "", f"./{name}"):
        assert client.post(JOIN, json=call({"path": path})).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"[]", b"\xff", b'{"fn_index": 0}', b"[" * 60000, b'{"a":' * 10000),
        b'{"fn_index": 0, "session_hash": "s1", "data": [NaN, "a"]}',
        b'{"fn_index": 0, "session_hash": "s1", "data": [null, "c"]}',
        b'{"fn_index": 0, "session_hash": "s1", "data": [null]}',
        b'{"fn_index": 0, "session_hash": "s1", "data": [null, "a", 1]}',
        b'{"fn_index": 0, "session_hash": "s1", "data": ["/etc/passwd", "a"]}',
        b'{"fn_index": "0", "session_hash": "s1", "data": [null, "a"]}',
        b'{"fn_index": 1, "session_hash": "s1", "data": [null, "a"]}',
        b'{"fn_index": 0, "session_hash": "../s1", "data": [null, "a"]}',
        b'{"fn_index": 0, "session_hash": null, "data": [null, "a"]}',
    ],
)
def test_what_the_page_would_not_call_is_refused(client, body):
    assert client.post(JOIN, content=body).status_code == 422


def test_answers_are_for_pages_that_called(client):
    asked = "/gradio_api/queue/data?session_hash=s1"
    assert client.get(asked).status_code == 404
    assert client.post(JOIN, json=call(None)).status_code == 200
    assert client.get(asked).status_code == 200
    assert client.get("/gradio_api/queue/data").status_code == 404


@pytest.mark.parametrize(
    ("path", "method"),
    [
        *((JOIN, "GET"), (UPLOAD, "GET"), ("/gradio_api/file=a", "POST"), ("/gradio_api/queue/data", "POST")),
        *(
            (f"/gradio_api/{name}", "POST")
            for name in ("call/a", "run/a", "api/a", "component_server", "cancel", "reset")
        ),
        *(
            (f"/gradio_api/{name}", "GET")
            for name in ("stream/a", "proxy=http://a", "info", "queue/status", "heartbeat/a")
        ),
    ],
)
def test_nothing_else_of_gradio_is_reached(client, path, method):
    assert client.request(method, path).status_code == 404


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\nbroken", "multipart/form-data; boundary=x"),
        (b"--x--", "multipart/form-data"),
        (b"{}", "application/json"),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nfield\r\n--x--', "multipart/form-data; boundary=x"),
        (
            2 * b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nfile\r\n' + b"--x--",
            "multipart/form-data; boundary=x",
        ),
        (b"--x\r\n" + b"A" * 9000 + b": b\r\n\r\n", "multipart/form-data; charset=nonsense; boundary=x"),
    ],
)
def test_an_upload_is_one_file(client, body, kind):
    answer = client.post(UPLOAD, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400 and answer.json() == {"detail": "An upload must be a form with one file."}


def test_uploads_have_limits(client, monkeypatch):
    assert [upload(client, bytes(size)).status_code for size in (1000, 1001, 30000)] == [200, 413, 413]
    names = [upload(client, bytes(900)).json()[0] for _ in range(2)]
    assert client.get(f"/gradio_api/file={names[0]}").status_code == 200
    answer = upload(client)  # the sixth
    assert answer.status_code == 429 and "try again" in answer.json()["detail"] and answer.headers["Retry-After"]
    monkeypatch.setattr(demo_gate, "_LARGEST_CALL", 100)
    assert client.post(JOIN, json=call(None, event_id="x" * 100)).status_code == 413


def test_all_pictures_together_have_a_limit():
    store = PictureStore(5000)
    client = TestClient(Gate(None, TypeAdapter(Read), store, 1000, uploads_a_minute=99))
    names = [upload(client, bytes(1000)).json()[0] for _ in range(20)]
    assert len(store) == 5 and store.get(names[-1]) is not None and store.get(names[0]) is None


def test_a_body_that_does_not_come_ends(client, monkeypatch):
    monkeypatch.setattr(demo_gate, "_SECONDS", -1)
    assert upload(client).status_code == 408
    assert client.post(JOIN, json=call(None)).status_code == 408
