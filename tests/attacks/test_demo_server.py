"""Hostile requests to `fer demo`: to its gate in this process, and to a server that runs in one of its own."""

from __future__ import annotations

import http.client
import io
import itertools
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from fer_lightning.deploy.demo_gate import Call, Gate, UploadedPicture, read_upload
from fer_lightning.deploy.demo_memory import PictureStore

testclient = pytest.importorskip("starlette.testclient")

API = "/gradio_api"
SECONDS = 60  # until an answer counts as none; the machine may be busy
META = {"_type": "gradio.FileData"}
START_OF_FORM = (
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
)
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def picture_bytes(format: str = "PNG", side: int = 120, **options: Any) -> bytes:
    y, x = np.mgrid[:side, :side]
    pixels = np.stack([x * 255 // side, y * 255 // side, (x * y) % 256], axis=-1).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format, **options)
    return encoded.getvalue()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes of which some are changed, cut off, repeated or put in from elsewhere."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place, length = int(rng.integers(len(changed) + 1)), int(rng.integers(1, 30))
        kind = rng.integers(5)
        if kind == 0:
            changed[place : place + 1] = bytes([int(rng.integers(256))])
        elif kind == 1:
            del changed[place : place + length]
        elif kind == 2:
            changed[place:place] = changed[place : place + length] * int(rng.integers(1, 50))
        elif kind == 3:
            changed[place:place] = bytes(rng.integers(256, size=length, dtype=np.uint8))
        else:
            odd = [b"null", b"[[[[", b'"', b"\0", b"1e999", b"NaN", b"{}", b"\r\n--x\r\n", b"\xff\xfe", b"-1", b"true"]
            changed[place : place + length] = odd[int(rng.integers(len(odd)))]
    return bytes(changed)


# In this process: what the gate and the reader of uploads do.


class Read(Call):
    fn_index: Literal[0]
    data: tuple[UploadedPicture | None, Literal["ferplus", "fer2013"]]


@pytest.fixture(scope="module")
def gate() -> Any:
    async def page(scope, receive, send):
        message = await receive()
        call = json.loads(message["body"])
        assert set(call) == {"session_hash", "fn_index", "data", "event_data"}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return testclient.TestClient(Gate(page, TypeAdapter(Read), PictureStore(10**7), 10**5, uploads_a_minute=10**6))


def test_mutated_calls_of_the_page(campaign, gate):
    valid = json.dumps({"data": [None, "ferplus"], "fn_index": 0, "session_hash": "s1", "event_data": None}).encode()
    for case, rng in campaign.cases(quick=100, full=2000):
        body = mutated(valid, rng)
        status = gate.post(f"{API}/queue/join", content=body).status_code
        campaign.held(f"{case} {body[:200]!r}", status in (200, 422, 429), f"status {status}")


def test_mutated_forms(campaign, gate):
    valid = START_OF_FORM + b"content" * 5 + b"\r\n--x--\r\n"
    for case, rng in campaign.cases(quick=100, full=2000):
        body = mutated(valid, rng)
        kind = FORM["Content-Type"].encode() if rng.random() < 0.8 else mutated(FORM["Content-Type"].encode(), rng)
        kind = bytes(byte for byte in kind if 32 <= byte < 127).strip()
        status = gate.post(f"{API}/upload", content=body, headers={"Content-Type": kind.decode()}).status_code
        campaign.held(f"{case} {kind!r} {body[:200]!r}", status in (200, 400), f"status {status}")


def bombs() -> Iterator[bytes]:
    """Files that are small and would become large, or that are of two kinds."""

    def png(width: int, height: int, pixels: bytes) -> bytes:
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b"")]
        packed = (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(packed)

    zeros = zlib.compress(bytes(10**7), 9)
    for side in (0, 1, 4000, 60_000, 2**31 - 1):
        yield png(side, side, zeros)
    yield b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 60_000, -60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    yield b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\0;"
    yield b"II*\0\x08\0\0\0" + b"\x01\0" + struct.pack("<HHII", 256, 4, 1, 2**31) + bytes(4)
    yield b"II*\0\x08\0\0\0" + b"\0\0" + struct.pack("<I", 8)  # a directory that follows itself
    yield picture_bytes("JPEG") + b"<script>alert(1)</script>" + picture_bytes("PNG")
    for start in (b"%PDF-1.4", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"PK\3\4"):
        yield start + picture_bytes("JPEG")
    yield from (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"RIFF\xff\xff\xff\xffWEBPVP8X",
        b"\x89PNG\r\n\x1a\n",
        bytes(1000),
    )


def test_malformed_pictures_as_uploads(campaign):
    sources = [
        picture_bytes("JPEG"),
        picture_bytes("JPEG", progressive=True),
        *(picture_bytes(kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF")),
        picture_bytes("TIFF", compression="tiff_lzw"),
        picture_bytes("PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    ]
    whole = list(bombs())
    for case, rng in campaign.cases(quick=120, full=2610):
        if case < len(whole):
            content = whole[case]
        else:
            content = mutated(sources[case % len(sources)], rng)
            if rng.random() < 0.3:
                content = content[: int(rng.integers(len(content) + 1))]
        campaign.judge(
            f"{case} {content[:40]!r}",
            partial(read_upload, content, 9),
            accepts=lambda read: read.dtype == np.uint8 and read.ndim == 3 and read.shape[2] == 3 and read.size,
        )


# A server that runs.


@contextmanager
def running(folder: Path, *options: str) -> Iterator[SimpleNamespace]:
    """`fer demo` whose temporary files lie in a folder; has its `port`, `process`, `temporary` and `console()`."""
    temporary = folder / "temporary"
    temporary.mkdir()
    told = folder / "console.txt"
    command = [sys.executable, "-m", "fer_lightning", "demo", "port=0", "max_file_size=1", "max_megapixels=9", *options]
    with told.open("wb") as console:
        process = subprocess.Popen(
            command,
            stdout=console,
            stderr=console,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
            # A process that a shell started in the background ignores Ctrl-C, and so would this one.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
    try:
        until = time.monotonic() + 300
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", told.read_text())):
            assert process.poll() is None and time.monotonic() < until, told.read_text()
            time.sleep(0.2)
        yield SimpleNamespace(port=int(found[1]), process=process, temporary=temporary, console=told.read_text)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A page that, after all attacks, still answers, has printed no traceback and has written no file."""
    with running(tmp_path_factory.mktemp("demo"), "max_uploads_per_minute=100000") as server:
        yield server
        assert reads_a_picture(server.port, "after")
        # libpng says in fixed words what it passes over in a picture, and takes no setting that keeps it from it.
        printed = [line for line in server.console().splitlines() if not line.startswith("libpng warning: ")]
        assert len(printed) == 1, server.console()
        assert not any(path.is_file() for path in server.temporary.rglob("*"))
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=SECONDS) == 0
        assert not [*server.temporary.glob("fer_demo_*")]


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send(port: int, raw: bytes) -> bytes:
    """What comes back for bytes of any kind; ends where the server closes the connection or waits for more."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
        received = b""
        with suppress(OSError):
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        return received


def upload(port: int, content: bytes) -> tuple[int, bytes]:
    return ask(port, "POST", f"{API}/upload", START_OF_FORM + content + b"\r\n--x--\r\n", **FORM)


def join(port: int, call: object) -> tuple[int, bytes]:
    return ask(port, "POST", f"{API}/queue/join", json.dumps(call).encode(), **{"Content-Type": "application/json"})


def reads_a_picture(port: int, session: str) -> bool:
    """Whether a visitor is served as he should be."""
    status, names = upload(port, picture_bytes())
    assert status == 200, names
    status, answer = join(
        port,
        {"data": [{"path": json.loads(names)[0], "meta": META}, "ferplus"], "fn_index": 0, "session_hash": session},
    )
    assert status == 200, answer
    events = ask(port, "GET", f"{API}/queue/data?session_hash={session}")[1]
    return b"process_completed" in events and b"No face was found" in events


def hidden_places(tmp_path: Path, listener: socket.socket) -> list[str]:
    """Paths and addresses that the page must not touch."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture_bytes())
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.png").symlink_to(secret)
    (tmp_path / "link to pipe").symlink_to(tmp_path / "pipe")
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
    paths = [secret, tmp_path / "pipe", tmp_path / "link.png", tmp_path / "link to pipe", tmp_path, Path(__file__)]
    return [
        *map(str, paths),
        *(f"file://{path}" for path in paths),
        os.path.relpath(secret),
        f"{tmp_path}/../{tmp_path.name}/secret.png",
        f"/proc/self/root{secret}",
        *("/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/self/mem", "/proc/self/fd/0", "/dev/zero"),
        *("/dev/stdin", "/dev/random", "/", ".", "..", "", "~", "\0", "/etc/passwd\0.png", "\\\\host\\share\\a.png"),
        *(address, address.replace("http", "ftp"), address.replace("http:", ""), f"{API}/file={secret}"),
        f"http://127.0.0.1/{API}/file={secret}",
        "data:image/png;base64,AAAA",
        "a" * 5000,
        "../" * 50 + "etc/passwd",
        "%2e%2e%2f" * 9 + "etc/passwd",
    ]


def file_values(place: str) -> list[Any]:
    """A place in all the ways in which Gradio takes files."""
    file = {"path": place, "meta": META}
    return [
        file,
        {**file, "url": place, "orig_name": place, "mime_type": "image/png", "is_stream": True, "size": -1},
        {"path": None, "url": place, "meta": META},
        {"url": place, "meta": META},
        {"path": place, "meta": {"_type": "gradio.FileData", "path": file}},
        {"path": [place], "meta": META},
        {"path": {"path": place, "meta": META}, "meta": META},
        [file],
        {"value": file, "__type__": "update"},
        {"video": file, "image": file, "background": file, "layers": [file], "composite": file},
        place,
    ]


def calls_with(value: Any, place: str) -> Iterator[dict[str, Any]]:
    for number in (0, 1, 2, 3, 4, 5, 6, 99, -1):
        yield {"data": [value, "ferplus"], "fn_index": number, "session_hash": "s1"}
    yield {"data": [value, value], "fn_index": 0, "session_hash": "s1"}
    yield {"data": [None, value], "fn_index": 0, "session_hash": "s1"}
    yield {"data": [value], "fn_index": 1, "session_hash": "s1"}
    yield {"data": [None, "ferplus", value], "fn_index": 0, "session_hash": "s1"}
    yield {"data": [], "fn_index": 4, "session_hash": "s1", "event_data": {"index": [1, 1], "value": value}}
    yield {"data": [], "fn_index": 5, "session_hash": "s1", "event_data": {"index": value, "value": place}}
    yield {"data": [value, "ferplus"], "fn_index": 0, "session_hash": value}
    yield {"data": value, "fn_index": 0, "session_hash": "s1", "trigger_id": value, "event_id": place, "batched": True}


@pytest.mark.slow
def test_files_that_nobody_uploaded(campaign, served, tmp_path):
    """Each place in each way through each address that takes a call: refused, and neither opened nor asked for."""
    addresses = [
        "queue/join",
        "call/a",
        "call/v2/a",
        "run/predict",
        "run/a/",
        "api/predict",
        "component_server",
        "reset",
    ]
    addresses += ["cancel", "stream/a", "stream/a/close", "process_recording", "vibe-edit", "deep_link", "upload"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        places = hidden_places(tmp_path, listener)
        before = (tmp_path / "secret.png").stat().st_atime_ns
        every = [(place, call) for place in places for value in file_values(place) for call in calls_with(value, place)]
        for case, rng in campaign.cases(quick=300, full=2500):
            place, call = every[case] if case < 300 else every[int(rng.integers(len(every)))]
            address = addresses[0] if rng.random() < 0.6 else addresses[int(rng.integers(len(addresses)))]
            status, answer = ask(
                served.port, "POST", f"{API}/{address}", json.dumps(call).encode(), Content_Type="application/json"
            )
            campaign.held(f"{case} {address} {str(call)[:300]}", 400 <= status < 500, f"{status} {answer[:200]!r}")
        for place in places:
            for prefix in ("file=", "file/", "proxy=", "stream/", "file=http://127.0.0.1/", "custom_component/", "../"):
                path = f"{API}/{prefix}{place}".encode("unicode_escape").decode().replace(" ", "%20")
                answer = send(served.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                campaign.held(f"GET {path[:200]}", answer[9:10] in (b"4", b""), repr(answer[:200]))
        with pytest.raises(OSError):  # nobody reads the pipe
            os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)
        with pytest.raises(BlockingIOError):  # nor asked this server
            listener.accept()
        assert (tmp_path / "secret.png").stat().st_atime_ns == before
    assert reads_a_picture(served.port, "honest1")


@pytest.mark.slow
def test_pictures_of_other_visitors(campaign, served):
    names = [json.loads(upload(served.port, picture_bytes())[1])[0] for _ in range(5)]
    for number, name in enumerate(names):
        assert join(served.port, {"data": [{"path": name}, "ferplus"], "fn_index": 0, "session_hash": f"own{number}"})
    for number, name in itertools.product(range(5), names):
        if name == names[number]:
            continue
        for changed in (name, f"/{name}", f"./{name}", name.upper(), f"{name}/../{name}", name[:-1], f"{name}\0"):
            call = {"data": [{"path": changed, "meta": META}, "ferplus"], "fn_index": 0, "session_hash": f"own{number}"}
            status, _ = join(served.port, call)
            campaign.held(f"{number} {changed!r}", status == 403, f"status {status}")


def raw_requests(rng: np.random.Generator) -> bytes:
    """A request that is malformed in one way or another."""
    call = json.dumps({"data": [None, "ferplus"], "fn_index": 0, "session_hash": "s1"}).encode()
    join_head = f"POST {API}/queue/join HTTP/1.1\r\nHost: localhost\r\n".encode()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    kinds: list[Callable[[], bytes]] = [
        lambda: mutated(join_head + b"Content-Length: %d\r\n\r\n" % len(call) + call, rng),
        lambda: (
            join_head
            + b"Content-Length: "
            + [b"-1", b"1e9", b"99999999999", b"x", b"1, 2"][rng.integers(5)]
            + b"\r\n\r\n"
        ),
        lambda: join_head + b"Transfer-Encoding: chunked\r\n\r\n" + mutated(b'5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n', rng),
        lambda: join_head + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        lambda: join_head + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000,
        lambda: join_head + b"Content-Length: 60000\r\n\r\n" + b'{"a":' * 12_000,
        lambda: join_head + b"X: " + b"a" * int(rng.integers(10**5)) + b"\r\n\r\n",
        lambda: join_head + b"".join(b"X-%d: a\r\n" % number for number in range(2000)) + b"\r\n",
        lambda: (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + b"\x81\xff" * 50
        ),
        lambda: (
            b"GET " + mutated(b"/gradio_api/queue/data?session_hash=s1", rng) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ),
        lambda: b"GET /" + b"a" * int(rng.integers(10**5)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        lambda: (
            [b"TRACE", b"CONNECT", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"FOO"][rng.integers(7)]
            + b" /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ),
        lambda: bytes(rng.integers(256, size=int(rng.integers(1, 3000)), dtype=np.uint8)),
        lambda: b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(100),  # TLS
        lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        lambda: b"GET / HTTP/1.1\r\nHost: " + mutated(b"localhost", rng) + b"x\r\n\r\n",
        lambda: (
            join_head
            + b"Origin: "
            + [b"null", b"http://a.example", b"http://localhost:1"][rng.integers(3)]
            + b"\r\n\r\n"
        ),
        lambda: join_head + b"Content-Length: 500\r\n\r\n" + call,  # breaks off
    ]
    return kinds[int(rng.integers(len(kinds)))]()


@pytest.mark.slow
def test_malformed_requests(campaign, served):
    for case, rng in campaign.cases(quick=100, full=1500):
        raw = raw_requests(rng)
        status = send(served.port, raw)[9:12]
        # Where mutations left the request as it was, it is answered; where it ended early, it may get no answer.
        held = status == b"" or status[:1] == b"4" or (status == b"200" and b"HTTP/1" in raw)
        campaign.held(f"{case} {raw[:200]!r}", held, f"status {status!r}")
    assert reads_a_picture(served.port, "honest2")


@pytest.mark.slow
def test_pictures_for_a_running_server(campaign, served):
    """Every upload gets an answer in a sentence, whatever it holds."""
    sources = [picture_bytes(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
    whole = list(bombs())
    for case, rng in campaign.cases(quick=20, full=300):
        content = whole[case] if case < len(whole) else mutated(sources[case % 6], rng)
        status, answer = upload(served.port, content)
        if status != 200:  # too large, or the boundary of the form is part of it
            right = len(content) > 2**20 if status == 413 else status == 400 and b"--x" in content
            campaign.held(f"{case} {content[:40]!r}", right, f"{status} {answer!r}")
            continue
        call = {"data": [{"path": json.loads(answer)[0]}, "ferplus"], "fn_index": 0, "session_hash": f"many{case}"}
        status, answer = join(served.port, call)
        events = b"" if status == 429 else ask(served.port, "GET", f"{API}/queue/data?session_hash=many{case}")[1]
        sentence = re.search(rb"This file is not a picture|This picture|No face was found|face", events)
        campaign.held(f"{case} {content[:40]!r}", status == 429 or sentence is not None, f"{status} {events[:300]!r}")


@pytest.mark.slow
def test_floods(campaign, served):
    """Many connections that say nothing, uploads that break off, and more pictures than are kept."""
    memory = partial(resident_bytes, served.process.pid)
    before = memory()
    with ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=SECONDS))
    for case in range(300):
        head = f"POST {API}/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        answer = send(served.port, f"{head}Content-Length: 900000\r\n\r\n".encode() + START_OF_FORM + bytes(5000))
        campaign.held(f"broken off {case}", answer[9:10] in (b"", b"4"), repr(answer[:100]))
    for case in range(100):
        status, _ = upload(served.port, bytes(10**6))
        campaign.held(f"large {case}", status == 200, f"status {status}")
    growth = memory() - before
    campaign.held("memory", growth < 200 * 2**20, f"{growth >> 20} MB more")
    assert reads_a_picture(served.port, "honest3")


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_busy_server(tmp_path, number):
    """With half-sent uploads, open streams, and calls that the net still works on."""
    with running(tmp_path, "max_uploads_per_minute=3") as server, ExitStack() as stack:
        for start in (f"POST {API}/upload", f"POST {API}/queue/join", "GET /", f"GET {API}/queue/data?session_hash=s0"):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS))
            connection.sendall(f"{start} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n{{".encode())
        for call in range(20):
            assert join(server.port, {"data": ["ferplus"], "fn_index": 1, "session_hash": f"s{call}"})[0] == 200
        stream = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS))
        stream.sendall(f"GET {API}/queue/data?session_hash=s19 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert stream.recv(12) == b"HTTP/1.1 200"
        assert [upload(server.port, b"a")[0] for _ in range(3)][-1] == 429  # one upload is still being sent
        server.process.send_signal(number)
        started = time.monotonic()
        status = server.process.wait(timeout=SECONDS)
        assert time.monotonic() - started < 15
        assert status in {signal.SIGINT: (0, 130), signal.SIGTERM: (143,), signal.SIGHUP: (143,)}[number]
        assert not [path for path in server.temporary.rglob("*") if path.is_file() or path.name.startswith("fer_demo")]
        assert "Traceback" not in server.console()
