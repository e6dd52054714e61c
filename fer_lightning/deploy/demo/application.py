"""The page as a server takes it: Gradio's application behind the gate, and the looks of the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from fer_lightning.deploy.demo_gate import Gate
from fer_lightning.deploy.demo_page import DemoPage

_STYLE = Path(__file__).parent / "templates" / "page.css"
_SESSIONS = 100  # whose changes of the page Gradio remembers
_FORGET_EVERY = 10  # seconds
_WAITING = 30  # calls that wait for the net


def application(page: DemoPage, uploads_a_minute: int) -> ASGIApp:
    """What `serve` takes.

    Args:
        page: The page.
        uploads_a_minute: Limit of all visitors together.
    """

    async def forget() -> None:
        while True:
            page.forget_old()
            await asyncio.sleep(_FORGET_EVERY)

    @asynccontextmanager
    async def forgetting(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(forget())
        yield
        task.cancel()

    # The gate lets no path of a file through to Gradio. With this, Gradio would refuse it too.
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
    """Fonts of the reader's own system, and the blue of this project's figures."""
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
