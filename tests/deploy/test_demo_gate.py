from __future__ import annotations

import struct
import zlib
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from fer_lightning.deploy import demo_gate
from fer_lightning.deploy.demo_gate import Call, Gate, UploadedPicture, read_upload
from fer_lightning.deploy.demo_memory import PictureStore
from fer_lightning.errors import UserError

JOIN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"
LIMIT = 50


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


def colours(height: int = 30, width: int = 40) -> np.ndarray:
    """Left half red, right half blue, the upper right corner white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    pixels[: height // 4, -width // 4 :] = 255
    return pixels


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "gif", "jpg"])
def test_reads_what_was_written(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(colours()).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = read_upload(path.read_bytes(), LIMIT)
    assert read.dtype == np.uint8 and read.shape == (30, 40, 3)
    assert np.abs(read[20].astype(int) - colours()[20]).mean() < (8 if suffix == "jpg" else 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK"])
def test_every_kind_of_pixels_becomes_rgb(tmp_path, mode):
    path = tmp_path / "picture.tiff"
    Image.fromarray(colours()).convert(mode).save(path)
    assert read_upload(path.read_bytes(), LIMIT).shape == (30, 40, 3)


def test_phones_note_how_they_were_held(tmp_path):
    """Orientation 6: what is up in the picture lies at the right of the stored pixels."""
    path = tmp_path / "picture.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(colours()).save(path, exif=exif)
    np.testing.assert_array_equal(read_upload(path.read_bytes(), LIMIT), np.rot90(colours(), -1))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_large_pictures_become_smaller_and_keep_their_shape(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(colours(1500, 6000)).save(path)
    read = read_upload(path.read_bytes(), LIMIT)
    assert read.shape == (480, 1920, 3)
    assert read[400, 100].argmax() == 0 and read[400, 1800].argmax() == 2


def test_a_single_pixel(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (1, 1)).save(path)
    assert read_upload(path.read_bytes(), LIMIT).shape == (1, 1, 3)


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg></svg>"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(UserError, match=r"^This file is not a picture: use a JPEG, PNG, .*\.$"):
        read_upload(content, LIMIT)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_half_a_picture_is_refused(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="broken"):
        read_upload(path.read_bytes(), LIMIT)


@pytest.mark.parametrize("side", [8_000, 60_000])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(tmp_path, side):
    """A PNG whose head promises more than the limit, and whose pixels are not even there."""
    path = tmp_path / "bomb.png"
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head) - 4) + head + struct.pack(">I", zlib.crc32(head))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT")
    with pytest.raises(UserError, match=r"more than the 50 megapixels"):
        read_upload(path.read_bytes(), LIMIT)
