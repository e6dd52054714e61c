from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from contextlib import ExitStack, closing

import pytest
from starlette.responses import PlainTextResponse

from fer_lightning.deploy import demo_server
from fer_lightning.errors import UserError


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("0.0.0.0", False), ("192.168.0.7", False), ("::", False), ("", False), ("localhost.example", False)),
    ],
)
def test_loopback(host, expected):
    assert demo_server.is_loopback(host) is expected


def test_a_taken_port_gives_way_to_the_next():
    with demo_server.listen("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with demo_server.listen("127.0.0.1", taken) as second:
            assert taken < second.getsockname()[1] < taken + 100


def test_only_the_address_asked_for_is_bound():
    with demo_server.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", 70000, "port=70000 cannot be used: choose one from 1024 to 65535."),
        ("127.0.0.1", -1, "port=-1 cannot be used: choose one from 1024 to 65535."),
        ("127.0.0.1", "abc", "port=abc cannot be used: choose one from 1024 to 65535."),
        ("127.0.0.1", 1.5, "port=1.5 cannot be used: choose one from 1024 to 65535."),
        *(
            (host, 7860, f"host must be an address of this machine; got {host!r}: omit it, or use 127.0.0.1.")
            for host in ("192.0.2.1", "no such host", "", "a..b", "2001:db8::1")
        ),
    ],
)
def test_what_cannot_be_bound_is_a_sentence(host, port, told):
    with pytest.raises(UserError) as caught:
        demo_server.listen(host, port)
    assert str(caught.value) == told


def test_all_ports_taken(monkeypatch):
    monkeypatch.setattr(demo_server, "_TRIED_PORTS", 1)
    with demo_server.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port} is taken"):
            demo_server.listen("127.0.0.1", port)


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: shells have their background jobs ignore it, and the tests may be one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def answers(host: str, *asked: tuple[str, str, dict[str, str]]) -> list[tuple[int, str | None]]:
    """Status and policy of requests by method, path and headers, to a server that has a page at every path.

    Where no `Host` is among the headers, it is the address that is printed.
    """

    async def page(scope, receive, send):
        if scope["type"] == "http":
            headers = ",".join(name.decode() for name, _ in scope["headers"])
            await PlainTextResponse(f"{headers} {scope['query_string']}")(scope, receive, send)

    found = []
    with demo_server.listen(host, 0) as listening:
        address = demo_server.address_of(listening)
        connecting_to = listening.getsockname()[0].replace("0.0.0.0", "127.0.0.1")
        port = listening.getsockname()[1]

        def ask():
            try:
                for method, path, headers in asked:
                    headers = {name: value.replace("PORT", str(port)) for name, value in headers.items()}
                    with closing(http.client.HTTPConnection(connecting_to, port, timeout=30)) as connection:
                        connection.request(method, path, headers={"Host": address.removeprefix("http://"), **headers})
                        answer = connection.getresponse()
                        assert b"x-forwarded" not in answer.read()
                        found.append((answer.status, answer.headers["Content-Security-Policy"]))
            finally:
                signal.raise_signal(signal.SIGINT)

        asking = threading.Thread(target=ask)
        asking.start()
        with pytest.raises(KeyboardInterrupt):
            demo_server.serve(page, listening)
        asking.join()
    return found


@pytest.mark.usefixtures("interruptible")
def test_who_is_answered_what():
    asked = [
        (200, "GET", "/", {}),
        (200, "GET", "/", {"Host": "localhost:PORT"}),
        (200, "GET", "/", {"Host": "[::1]"}),
        (200, "GET", "/?deep_link=../../etc", {"X-Forwarded-Host": "evil.example"}),
        (200, "GET", "/", {"Sec-Fetch-Site": "cross-site"}),  # a link to the page
        (200, "POST", "/gradio_api/upload", {"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "same-origin"}),
        (400, "GET", "/", {"Host": "evil.example"}),  # a name of the internet that was made to point here
        *((400, "GET", "/", {"Host": host}) for host in ("", "127.0.0.1.evil.example", "[::1", "a:b:c", "localhost@x")),
        *(
            (403, "POST", "/gradio_api/upload", {"Origin": origin})
            for origin in ("null", "", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "file://")
        ),
        (403, "POST", "/gradio_api/upload", {"Sec-Fetch-Site": "same-site"}),
        (403, "GET", "/gradio_api/file=a", {"Sec-Fetch-Site": "cross-site"}),
        (405, "OPTIONS", "/gradio_api/upload", {}),
        *(
            (404, "GET", path, {})
            for path in (
                *("/gradio_api/info", "/config", "/gradio_api/heartbeat/s1", "/gradio_api/proxy=http://a.example/"),
                *("/gradio_api/file=/etc/passwd", "/gradio_api/file=..%2f..", "/gradio_api/file=", "/static/../x"),
                *("/static/..%2fx", "/static/%00", "/assets/", "//", "/gradio_api/queue/join/", "/gradio_api/run/a"),
            )
        ),
    ]
    found = answers("127.0.0.1", *(request[1:] for request in asked))
    assert [(status, *request[1:]) for (status, _), request in zip(found, asked)] == asked
    assert all(policy is not None and policy.startswith("default-src 'self'") for _, policy in found)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "127.1", pytest.param("::1", marks=NEEDS_IPV6)])
def test_every_loopback_address_works_as_it_is_printed(host):
    own = [("GET", "/", {}), ("GET", "/", {"Host": "evil.example"})]
    assert [status for status, _ in answers(host, *own)] == [200, 400]


@pytest.mark.usefixtures("interruptible")
def test_other_names_are_answered_where_others_may_come():
    own, malformed = ("GET", "/", {"Host": "my.example:PORT"}), ("GET", "/", {"Host": "<a>"})
    assert [status for status, _ in answers("0.0.0.0", own, malformed)] == [200, 400]


@pytest.mark.usefixtures("interruptible")
def test_connections_that_ask_for_nothing_are_closed(monkeypatch):
    """Too many of them, half a request, and a body that never ends although it was refused."""
    monkeypatch.setattr(demo_server, "_CHECK_EVERY", 0.3)
    monkeypatch.setattr(demo_server, "_MAX_CONNECTIONS", 4)
    ended = {}

    async def page(scope, receive, send):
        if scope["type"] == "http":
            await PlainTextResponse("refused", status_code=413)(scope, receive, send)

    with demo_server.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]

        def ask():
            try:
                starts = {
                    "nothing": b"",
                    "half": b"GET / HTTP/1.1\r\nHo",
                    "endless": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n",
                }
                for name, start in starts.items():
                    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                        connection.sendall(start)
                        received = b""
                        while piece := connection.recv(9999):
                            received += piece
                        ended[name] = received[9:12]
                with ExitStack() as stack:
                    several = [
                        stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.01))
                        for _ in range(6)
                    ]
                    time.sleep(0.1)
                    ended["too many"] = sum(_is_closed(connection) for connection in several)
            finally:
                signal.raise_signal(signal.SIGINT)

        asking = threading.Thread(target=ask)
        asking.start()
        with pytest.raises(KeyboardInterrupt):
            demo_server.serve(page, listening)
        asking.join()
    assert ended == {"nothing": b"", "half": b"", "endless": b"413", "too many": 2}


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
