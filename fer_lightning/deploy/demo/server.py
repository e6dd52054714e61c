"""Serves a page from a socket of our own: to this machine alone, and nothing that the page does not ask for."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from uvicorn import Config, Server

from fer_lightning.errors import UserError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TRIED_PORTS = 100
_LOCAL_NAMES = ["127.0.0.1", "localhost"]
# What a browser asks for when it shows a page. Gradio also has a proxy, statistics, and functions to call.
_NEEDED = (
    *("/assets/", "/static/", "/theme.css", "/favicon.ico", "/gradio_api/upload", "/gradio_api/file="),
    *("/gradio_api/queue/", "/gradio_api/heartbeat/", "/gradio_api/cancel", "/gradio_api/reset"),
)
# A browser that is given this asks no other machine for anything, whatever the page says.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)


def is_loopback(host: str) -> bool:
    """Whether an address or name is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket of a page.

    Args:
        host: IPv4 address or name of this machine.
        port: Where to listen; where that is taken, the first free one of the next.

    Raises:
        UserError: The host is none of this machine, or no port can be used.
    """
    for candidate in range(port, port + _TRIED_PORTS):
        try:
            return socket.create_server((host, candidate), backlog=128)
        except (PermissionError, OverflowError):
            raise UserError(f"port={candidate} cannot be used: choose one from 1024 to 65535.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"host={host} is no IPv4 address of this machine: leave it away.") from None
    raise UserError(f"port={port} is taken, and so are the next {_TRIED_PORTS - 1}: choose another.")


def serve(page: ASGIApp, listening: socket.socket) -> None:
    """Answers until Ctrl-C, which raises KeyboardInterrupt when all is closed.

    Args:
        page: The application, of Gradio.
        listening: As `listen` returned it. Where it is on the loopback interface, requests that name another host are
            refused: a page of the internet whose name was made to point here would otherwise be let in.
    """
    local = is_loopback(listening.getsockname()[0])
    guarded = TrustedHostMiddleware(_OnlyWhatIsNeeded(page), _LOCAL_NAMES if local else ["*"])
    # A page that is open in a browser keeps a connection, which would hold up the end.
    config = Config(guarded, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
    Server(config).run(sockets=[listening])


class _OnlyWhatIsNeeded:
    """Refuses addresses that a page does not need, and tells the browser to ask nobody else."""

    def __init__(self, page: ASGIApp) -> None:
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/" and not scope["path"].startswith(_NEEDED):
            await PlainTextResponse("Not found", status_code=404)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        await self._page(scope, receive, send_with_policy)
