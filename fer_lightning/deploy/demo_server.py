"""Server of the demo, which by default listens on this machine only and answers only requests of its page.

Gradio's application is behind the gate and is served from a socket that this module opens.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from fer_lightning.deploy.demo_gate import Gate
from fer_lightning.deploy.demo_page import DemoPage
from fer_lightning.errors import UserError

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

    from starlette.types import Message, Receive, Scope, Send

_TRIED_PORTS = 100
_MAX_CONNECTIONS = 256  # a browser opens six
_CHECK_EVERY = 10  # seconds
# Requests of a browser that shows the page. Gradio also has a proxy, statistics, and an API.
_NEEDED = re.compile(
    r"/|/theme\.css|/favicon\.ico|/(assets|static)(/[\w@-][\w@.-]*)+"
    r"|/gradio_api/(upload|upload_progress|queue/join|queue/data|file=\w+)",
    re.ASCII,
)
_WITH_QUERY = "/gradio_api/"
# With this policy, a browser sends no requests to other machines, whatever the page contains.
_POLICY = {
    "Content-Security-Policy": "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = Path(__file__).parent / "templates" / "page.css"
_SESSIONS = 100  # sessions whose state Gradio keeps
_FORGET_EVERY = 10  # seconds
_WAITING = 30  # calls that wait for the net


def is_loopback(host: str) -> bool:
    """Whether an address or name is reachable from this machine only."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket of a page.

    Args:
        host: Address or name of this machine.
        port: Port to listen on; where it is in use, the next free one.

    Raises:
        UserError: The host is not this machine, or no port can be used.
    """
    if not isinstance(port, int):  # as it was typed
        raise _cannot_be_used(port)
    family, address = _address(host)
    for candidate in range(port, port + _TRIED_PORTS):
        try:
            return socket.create_server((address, candidate), family=family, backlog=128)
        except (PermissionError, OverflowError):
            raise _cannot_be_used(candidate) from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _not_this_machine(host) from None
    raise UserError(f"port={port} is taken, and so are the next {_TRIED_PORTS - 1}: choose another.")


def _address(host: str) -> tuple[socket.AddressFamily, str]:
    """Address of a host, IPv4 where it has both; an empty name would be every address of this machine."""
    try:
        entries = socket.getaddrinfo(host or "no host", None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise _not_this_machine(host) from None
    family, _, _, _, address = min(entries, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])


def _cannot_be_used(port: object) -> UserError:
    return UserError(f"port={port} cannot be used: choose one from 1024 to 65535.")


def _not_this_machine(host: str) -> UserError:
    return UserError(f"host must be an address of this machine; got {host!r}: omit it, or use 127.0.0.1.")


def address_of(listening: socket.socket) -> str:
    """Web address of the page."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(page: ASGIApp, listening: socket.socket, when_stopping: Callable[[int], object] | None = None) -> None:
    """Serves the page until Ctrl-C, which raises KeyboardInterrupt after all connections are closed.

    Args:
        page: Application of Gradio.
        listening: Socket from `listen`. On the loopback interface, requests with another host name are rejected, which
            prevents DNS rebinding.
        when_stopping: Callback that receives the number of the signal that stops the server.
    """
    guarded = _OnlyOwnPages(page, only_this_machine=is_loopback(listening.getsockname()[0]))
    # Headers of proxies are not trusted. An open page would delay the shutdown without a timeout.
    config = Config(
        guarded,
        http=_Connection,
        ws="none",
        loop="asyncio",
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    _Server(config, when_stopping).run(sockets=[listening])


class _Server(Server):
    def __init__(self, config: Config, when_stopping: Callable[[int], object] | None) -> None:
        super().__init__(config)
        self._when_stopping = when_stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._when_stopping is not None and not self.should_exit:
            self._when_stopping(sig)
        super().handle_exit(sig, frame)


class _Connection(H11Protocol):
    """Connection that is closed where there are too many, or where it has no complete request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(_CHECK_EVERY, self._check, None)

    def _check(self, before: RequestResponseCycle | None) -> None:
        """Closes the connection where no request was completed since `before`."""
        if self.cycle is before and (before is None or before.response_complete):
            self.transport.close()
        if not self.transport.is_closing():
            self.loop.call_later(_CHECK_EVERY, self._check, self.cycle)


class _OnlyOwnPages:
    """ASGI application that rejects requests of other pages, and sets a policy against requests to other servers."""

    def __init__(self, page: ASGIApp, only_this_machine: bool) -> None:
        self._page = page
        self._only_this_machine = only_this_machine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._page(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_POLICY)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_policy)
            return
        # Gradio trusts the headers of proxies, and reads files named in the query of its main page.
        headers = [(name, value) for name, value in scope["headers"] if not name.startswith((b"x-", b"forwarded"))]
        query = scope["query_string"] if scope["path"].startswith(_WITH_QUERY) else b""
        await self._page({**scope, "headers": headers, "query_string": query}, receive, send_with_policy)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        name = _without_port(host)
        if not name or (self._only_this_machine and not is_loopback(name)):
            return PlainTextResponse("Invalid host header", status_code=400)
        if any(origin.partition("://")[2] != host for origin in headers.getlist("origin")):
            return PlainTextResponse("Other pages may not use this one.", status_code=403)
        # Browsers mark requests of other pages; a link to this page is allowed.
        if path != "/" and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return PlainTextResponse("Other pages may not use this one.", status_code=403)
        if not _NEEDED.fullmatch(path):
            return PlainTextResponse("Not found", status_code=404)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("Method not allowed", status_code=405)
        return None


def _without_port(host: str) -> str:
    """Name or address of a `Host` header; empty where it is malformed."""
    match = re.fullmatch(r"(?:\[([\da-fA-F:.]+)\]|([\w.-]+))(?::\d+)?", host, re.ASCII)
    return match[1] or match[2] if match else ""


def application(page: DemoPage, uploads_a_minute: int) -> ASGIApp:
    """ASGI application of a page for `serve`; `uploads_a_minute` limits the uploads of all visitors together."""

    async def forget() -> None:
        while True:
            page.forget_old()
            await asyncio.sleep(_FORGET_EVERY)

    @asynccontextmanager
    async def forgetting(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(forget())
        yield
        task.cancel()

    # The gate forwards no file paths to Gradio. With this, Gradio would reject them as well.
    page.blocks.has_launched = True
    page.blocks.state_session_capacity = _SESSIONS
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None, lifespan=forgetting),
        page.blocks.queue(max_size=_WAITING),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=page.max_file_size,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        css_paths=_STYLE,
    )
    return Gate(app, page.calls, page.pictures, page.max_file_size, uploads_a_minute)


def _theme() -> gr.themes.Base:
    """Theme with system fonts and the blue of this project's figures."""
    blue = gr.themes.Color(
        *("#f0f7fc", "#dcecf7", "#b9d9ef", "#7db8dc", "#3d94c8", "#0b6ea8", "#0b629a", "#0b5c91", "#084a76", "#08375a"),
        c950="#052238",
    )
    return gr.themes.Default(
        primary_hue=blue,
        secondary_hue=blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300")
