"""Gate of the demo: uploads stay in memory, and only well-formed calls reach Gradio."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import AsyncGenerator
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from fer_lightning.data.image_decoding import decode_image
from fer_lightning.deploy.demo_memory import PictureStore, Rate, Recent
from fer_lightning.errors import UserError
from fer_lightning.inference.images import to_rgb

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/gradio_api"
PICTURE = f"{API}/file="  # followed by the name of a picture
_MEDIA_TYPES = {"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"}
_AROUND_A_FILE = 2**14  # bytes: boundaries and headers of an upload
_LARGEST_CALL = 2**16  # bytes
_CALLS_A_MINUTE = 600
_UPLOADS_AT_ONCE = 8
_SECONDS = 60  # timeout of a request body
_PIECE = 2**16  # bytes that are parsed at a time
_SESSIONS = 10_000  # sessions that may read results
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_LARGEST_SIDE = 1920  # pixels: a face of 48, as nets read them, is then a 40th of the picture


logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the fault of a form is reported to its sender


class UploadedPicture(BaseModel):
    """Picture in a call: its name, without the paths and addresses that browsers send with it."""

    path: str


class Call(BaseModel):
    """Well-formed call of the page; other fields of a request are dropped.

    Attributes:
        session_hash: Random name of the browser's tab.
        fn_index: Index of the function to call.
        data: Values of the page's components.
        event_data: Data of the event that triggered the call.
    """

    session_hash: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]
    fn_index: int
    data: Any
    event_data: Any = None


class Gate:
    """ASGI application that accepts uploads, serves pictures, and forwards the calls that the page makes.

    Gradio would write uploads to files and open any path or address that a call names. Here a picture has a random name
    instead of a path, and a call that the page would not make is rejected before Gradio receives it.

    Args:
        page: Application of Gradio.
        calls: Schema of the page's calls.
        pictures: Store of the uploads.
        max_file_size: Limit of an upload in bytes.
        uploads_a_minute: Limit of uploads per minute for all visitors together.
    """

    def __init__(
        self, page: ASGIApp, calls: TypeAdapter[Any], pictures: PictureStore, max_file_size: int, uploads_a_minute: int
    ) -> None:
        self._page = page
        self._calls = calls
        self._pictures = pictures
        self._max_file_size = max_file_size
        self._uploading = 0
        self._upload_rate = Rate(uploads_a_minute)
        self._call_rate = Rate(_CALLS_A_MINUTE)
        self._sessions: Recent[bool] = Recent(_SESSIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{API}/"):
            await self._page(scope, receive, send)
            return
        try:
            answer = await self._answer(Request(scope, receive))
        except HTTPException as refusal:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        path = request.url.path
        asked = f"{request.method} {path.removeprefix(API)}"
        if asked == "POST /upload":
            return JSONResponse([await self._upload(request)])
        if asked == "GET /upload_progress":  # requested by browsers; uploads are too short to show it
            return PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")
        if asked.startswith("GET /file="):
            picture = self._pictures.get(path.removeprefix(PICTURE))
            if picture is None:
                raise HTTPException(404, "The picture does not exist or has expired.")
            return Response(picture.content, media_type=picture.media_type)
        if asked == "POST /queue/join":
            return self._with_body(await self._call(request))
        if asked == "GET /queue/data" and self._sessions.get(request.query_params.get("session_hash", "")):
            return self._page
        raise HTTPException(404, "Not found.")

    async def _upload(self, request: Request) -> str:
        """Name of the picture."""
        if self._uploading >= _UPLOADS_AT_ONCE or not self._upload_rate.allows_one_more():
            raise HTTPException(429, "Too many pictures at a time: try again in a minute.", {"Retry-After": "60"})
        self._uploading += 1
        try:
            body = await _body(request, self._max_file_size + _AROUND_A_FILE)
            file = await _only_file(request, body)
            content = await file.read()
        finally:
            self._uploading -= 1
        if len(content) > self._max_file_size:
            raise _too_large(self._max_file_size)
        media_type = file.content_type if file.content_type in _MEDIA_TYPES else "application/octet-stream"
        return self._pictures.add(content, media_type)

    async def _call(self, request: Request) -> bytes:
        """Body for Gradio with the fields of the schema only."""
        body = await _body(request, _LARGEST_CALL)
        try:
            call = self._calls.validate_json(body, strict=True)
        except ValidationError:
            raise HTTPException(422, "The call is not one of the page.") from None
        for value in call.data:
            if isinstance(value, UploadedPicture) and not self._pictures.belongs_to(value.path, call.session_hash):
                raise HTTPException(403, "The picture was not uploaded by this page or has expired.")
        if not self._call_rate.allows_one_more():
            raise HTTPException(429, "Too many calls at a time: try again in a minute.", {"Retry-After": "60"})
        self._sessions.put(call.session_hash, True, size=1)
        return self._calls.dump_json(call)

    def _with_body(self, body: bytes) -> ASGIApp:
        """Application of the page with this request body."""

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def forward(scope: Scope, _: Receive, send: Send) -> None:
            about = (b"content-", b"transfer-encoding")
            headers = [(name, value) for name, value in scope["headers"] if not name.startswith(about)]
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await self._page({**scope, "headers": headers}, receive, send)

        return forward


async def _body(request: Request, limit: int) -> bytes:
    async def read() -> bytes:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise _too_large(limit)
        return bytes(body)

    try:
        if int(request.headers.get("content-length", 0)) > limit:
            raise _too_large(limit)
        return await asyncio.wait_for(read(), _SECONDS)
    except ValueError:
        raise HTTPException(400, "Content-Length must be a number.") from None
    except asyncio.TimeoutError:
        raise HTTPException(408, f"The request did not arrive within {_SECONDS} seconds.") from None


async def _only_file(request: Request, body: bytes) -> UploadFile:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), _PIECE):
            yield body[start : start + _PIECE]
            await asyncio.sleep(0)  # other requests are served in between

    try:
        form = await _MemoryParser(request.headers, pieces(), max_files=1, max_fields=0).parse()
        (file,) = form.values()
    except Exception:  # the parser raises exceptions of many types
        raise HTTPException(400, "An upload must be a form with one file.") from None
    assert isinstance(file, UploadFile)
    return file


class _MemoryParser(MultiPartParser):
    """Parser that keeps an upload of limited size in memory; the default writes files above 1 MB to disk."""

    spool_max_size = sys.maxsize


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The request exceeds the maximum allowed size of {limit} bytes.")


def read_upload(content: bytes, max_megapixels: float) -> np.ndarray:
    """Decodes an untrusted picture, rotated by its EXIF orientation and downscaled to the size of a screen.

    Args:
        content: Content of a file of any kind.
        max_megapixels: Size above which a picture is rejected without being decoded: a file of 10 MB can hold gigabytes
            of pixels.

    Returns:
        RGB, uint8 `(H, W, 3)`; the first of several frames.

    Raises:
        UserError: The file is not a picture, is broken, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures and unusual metadata
            with Image.open(BytesIO(content), formats=_FORMATS) as opened:  # reads the header only
                width, height = opened.size
        if width * height > 1e6 * max_megapixels:
            raise UserError(_picture_too_large(f"{width} x {height} pixels", max_megapixels))
        picture = Image.fromarray(to_rgb(decode_image(content)))
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(_picture_too_large("far too many pixels", max_megapixels)) from None
    except UnidentifiedImageError:
        raise UserError("This file is not a picture: use a JPEG, PNG, WebP, GIF, BMP or TIFF file.") from None
    except Exception:  # decoders raise exceptions of many types
        raise UserError("This picture is broken and cannot be read: use another.") from None
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    return np.asarray(picture)


def _picture_too_large(size: str, max_megapixels: float) -> str:
    return f"This picture has {size}, more than the {max_megapixels:g} megapixels that are allowed: make it smaller."
