from __future__ import annotations

import http.client
import signal
import socket
import threading
from contextlib import closing

import pytest
from starlette.responses import PlainTextResponse

from fer_lightning.deploy.demo import server
from fer_lightning.errors import UserError


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("0.0.0.0", False), ("192.168.0.7", False)],
)
def test_loopback(host, expected):
    assert server.is_loopback(host) is expected


def test_a_taken_port_gives_way_to_the_next():
    with server.listen("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with server.listen("127.0.0.1", taken) as second:
            assert taken < second.getsockname()[1] < taken + 100


def test_only_the_address_asked_for_is_bound():
    with server.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", 70000, "port=70000 cannot be used: choose one from 1024 to 65535."),
        ("127.0.0.1", -1, "port=-1 cannot be used: choose one from 1024 to 65535."),
        ("192.0.2.1", 7860, "host=192.0.2.1 is no IPv4 address of this machine: leave it away."),
        ("no such host", 7860, "host=no such host is no IPv4 address of this machine: leave it away."),
    ],
)
def test_what_cannot_be_bound_is_a_sentence(host, port, told):
    with pytest.raises(UserError) as caught:
        server.listen(host, port)
    assert str(caught.value) == told


def test_all_ports_taken(monkeypatch):
    monkeypatch.setattr(server, "_TRIED_PORTS", 1)
    with server.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port} is taken"):
            server.listen("127.0.0.1", port)


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: shells have their background jobs ignore it, and the tests may be one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def answers(host: str) -> dict[tuple[str, str], tuple[int, str | None]]:
    """Status and policy of several requests, by path and Host, to a server that has a page at every path."""

    async def page(scope, receive, send):
        if scope["type"] == "http":
            await PlainTextResponse("page")(scope, receive, send)

    found = {}
    with server.listen(host, 0) as listening:
        port = listening.getsockname()[1]

        def ask():
            try:
                for asked in (("/", f"127.0.0.1:{port}"), ("/", "evil.example"), ("/gradio_api/info", "localhost")):
                    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                        connection.request("GET", asked[0], headers={"Host": asked[1]})
                        answer = connection.getresponse()
                        found[asked[0], asked[1].partition(":")[0]] = (
                            answer.status,
                            answer.headers["Content-Security-Policy"],
                        )
            finally:
                signal.raise_signal(signal.SIGINT)

        asking = threading.Thread(target=ask)
        asking.start()
        with pytest.raises(KeyboardInterrupt):
            server.serve(page, listening)
        asking.join()
    return found


@pytest.mark.usefixtures("interruptible")
def test_who_is_answered_what():
    found = answers("127.0.0.1")
    status, policy = found["/", "127.0.0.1"]
    assert status == 200 and policy is not None and policy.startswith("default-src 'self'")
    assert found["/gradio_api/info", "localhost"][0] == 404
    assert found["/", "evil.example"][0] == 400  # a name of the internet that was made to point here


@pytest.mark.usefixtures("interruptible")
def test_other_names_are_answered_where_others_may_come():
    assert answers("0.0.0.0")["/", "evil.example"][0] == 200
