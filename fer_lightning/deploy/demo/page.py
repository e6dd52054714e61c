"""The page itself: its parts, and what happens when a visitor uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from fastapi import FastAPI
from starlette.types import ASGIApp

from fer_lightning.deploy.demo.card_page import card_page
from fer_lightning.deploy.demo.face_boxes import draw_boxes
from fer_lightning.deploy.demo.seen import Seen
from fer_lightning.deploy.demo.shown_net import ShownNet, enlarge
from fer_lightning.deploy.demo.upload import read_upload
from fer_lightning.deploy.prediction import Prediction
from fer_lightning.errors import UserError
from fer_lightning.report.number_text import percent

_Shown = dict[Any, Any]  # parts of the page and their new values
_STYLE = Path(__file__).parent / "templates" / "page.css"
_FORGET_AFTER = 600  # seconds: files of pictures, and what is remembered for a visitor
_TITLE = "Facial expression recognition"
_HEADING = """<header><h1>What does this face express?</h1>
<p>Drop a picture: the page finds the faces, and shows which expression a net reads in each and where it looks.
An expression is not a feeling: <a href="#limits">what the net cannot know</a>.
<strong>Pictures stay on the machine that serves this page, and are not kept.</strong></p></header>"""
_HINT = "Choose a picture, drop or paste one, or take one with the camera."
_NO_FACE = "No face was found in this picture: use one where a face is larger, well lit and seen from the front."
_NO_GRADIENT = "Where it looks cannot be shown for an .onnx file: choose the run that it was made from."


class DemoPage:
    """The page.

    Args:
        sources: The nets to choose from, as `open_classifier` takes them; the first is chosen at first.
        open_net: Opens one of them; it is asked again and again, so it should remember.
        max_megapixels: Larger pictures are refused.
        example: A picture uint8 `(H, W, 3)` for visitors without their own; None for no such button.

    Attributes:
        blocks: What Gradio serves.
    """

    def __init__(
        self,
        sources: Sequence[str],
        open_net: Callable[[str], ShownNet],
        max_megapixels: float,
        example: np.ndarray | None,
    ) -> None:
        self._open_net = open_net
        self._sources = sources
        self._max_megapixels = max_megapixels
        self._example = example
        with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(60, _FORGET_AFTER)) as self.blocks:
            self._lay_out()
            self._connect()

    def _lay_out(self) -> None:
        self._seen = gr.State(None, time_to_live=_FORGET_AFTER)
        gr.HTML(_HEADING, padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                self._upload = gr.Image(
                    label="Your picture",
                    sources=["upload", "webcam", "clipboard"],
                    buttons=[],
                    height=330,
                    placeholder="Drop a picture here\n- or -\nclick to choose one",
                    elem_id="upload",
                )
                self._message = gr.HTML(_message(_HINT), padding=False, elem_id="message")
                self._use_example = gr.Button("Try an example picture", visible=self._example is not None)
                names = [_short(source) for source in self._sources]
                self._source = gr.Radio(
                    [*zip(names, self._sources)], value=self._sources[0], label="Net", elem_id="net"
                )
            with gr.Column(scale=8, min_width=300):
                self._placeholder = gr.HTML('<p class="fer-empty">Faces, expressions and heat maps appear here.</p>')
                self._boxes = gr.Image(
                    label="Faces found",
                    format="jpeg",
                    buttons=["fullscreen"],
                    interactive=False,
                    height=540,
                    visible=False,
                    elem_id="boxes",
                )
        with gr.Column(visible=False, elem_id="result") as self._result:
            self._faces = gr.Radio([], label="Face", elem_id="faces")
            with gr.Row(equal_height=False):
                with gr.Column(scale=5, min_width=300):
                    self._bars = gr.Label(label="Probabilities", elem_id="bars")
                with gr.Column(scale=8, min_width=300):
                    with gr.Row(equal_height=False):
                        self._crop = _still("crop")
                        self._heat = _still("heat")
                    self._told = gr.HTML(padding=False, elem_id="told")
        self._card = gr.HTML(self._card_of(self._sources[0]), padding=False, elem_id="card")

    def _connect(self) -> None:
        face = [self._seen, self._boxes, self._bars, self._crop, self._heat, self._told]
        read = [self._message, self._placeholder, self._result, self._faces, *face]
        self._when(self._upload.input, self._read_upload, [self._upload, self._source], [self._upload, *read])
        self._when(self._use_example.click, self._read_example, [self._source], [self._upload, *read])
        self._when(self._source.input, self._change_net, [self._source, self._seen], [self._card, *read])
        self._when(self._faces.input, self._choose_face, [self._faces, self._source, self._seen], face)
        self._when(self._boxes.select, self._choose_place, [self._source, self._seen], [self._faces, *face])
        self._when(self._bars.select, self._explain, [self._source, self._seen], [self._heat, self._told])

    @staticmethod
    def _when(event: Any, answer: Callable[..., _Shown], inputs: list[Any], outputs: list[Any]) -> None:
        """Connects an event: for this page alone, one at a time, and with values as the browser sends them.

        Gradio would decode pictures before this page can refuse them.
        """
        event(
            answer,
            inputs,
            outputs,
            preprocess=False,
            concurrency_limit=1,
            concurrency_id="net",
            api_visibility="private",
        )

    def _read_upload(self, uploaded: dict[str, Any] | None, source: str) -> _Shown:
        if uploaded is None:
            return self._nothing(_HINT)
        try:
            picture = read_upload(Path(uploaded["path"]), self._max_megapixels)
        except UserError as error:
            return {self._upload: None, **self._nothing(str(error), refused=True)}
        return self._read(picture, source)

    def _read_example(self, source: str) -> _Shown:
        assert self._example is not None
        return {self._upload: self._example, **self._read(self._example, source)}

    def _change_net(self, source: str, seen: Seen | None) -> _Shown:
        card = {self._card: self._card_of(source)}
        return card if seen is None else {**card, **self._read(seen.picture, source)}

    def _choose_face(self, chosen: int, source: str, seen: Seen | None) -> _Shown:
        return {} if seen is None else self._show_face(replace(seen, chosen=chosen), source)

    def _choose_place(self, source: str, seen: Seen | None, place: gr.SelectData) -> _Shown:
        if seen is None:
            return {}
        chosen = seen.face_at(*place.index)
        return {self._faces: chosen, **self._show_face(replace(seen, chosen=chosen), source)}

    def _explain(self, source: str, seen: Seen | None, bar: gr.SelectData) -> _Shown:
        return {} if seen is None else self._show_heat(seen, source, bar.value)

    def _read(self, picture: np.ndarray, source: str) -> _Shown:
        predictions = self._net(source).read(picture)
        if not predictions:
            return self._nothing(_NO_FACE, refused=True)
        seen = Seen(picture, predictions)
        names = [f"{number}: {_told(face)}" for number, face in enumerate(predictions, start=1)]
        found = f"One face: {_told(seen.face)}." if len(names) == 1 else f"{len(names)} faces; choose one to look at."
        if any(face.low_resolution for face in predictions):
            found += " Where a face is smaller in the picture than the net’s own pictures are, believe it less."
        return {
            self._message: _message(found),
            self._placeholder: gr.HTML(visible=False),
            self._result: gr.Column(visible=True),
            self._faces: gr.Radio([*zip(names, range(len(names)))], value=0, visible=len(names) > 1),
            **self._show_face(seen, source),
        }

    def _nothing(self, message: str, refused: bool = False) -> _Shown:
        return {
            self._message: _message(message, refused),
            self._placeholder: gr.HTML(visible=True),
            self._boxes: gr.Image(visible=False),
            self._result: gr.Column(visible=False),
            self._seen: None,
        }

    def _show_face(self, seen: Seen, source: str) -> _Shown:
        said = ", ".join(_told(face) for face in seen.predictions)
        return {
            self._seen: seen,
            self._boxes: gr.Image(
                draw_boxes(seen.picture, seen.predictions, seen.chosen),
                alt_text=f"The picture with boxes: {said}",
                visible=True,
            ),
            self._bars: seen.face.probabilities,
            self._crop: gr.Image(enlarge(seen.face.face), alt_text="The face as the net gets it"),
            **self._show_heat(seen, source, seen.most_probable),
        }

    def _show_heat(self, seen: Seen, source: str, label: str) -> _Shown:
        heat = self._net(source).where_it_looks(seen.face.face, label)
        if heat is None:
            return {self._heat: gr.Image(visible=False), self._told: f"<p>{_NO_GRADIENT}</p>"}
        told = (
            "<p>Left, the face as the net gets it. Right, its Grad-CAM: the redder a place, the more it speaks for "
            f"<strong>{escape(label)}</strong>. Press another expression to see what speaks for that.</p>"
        )
        return {
            self._heat: gr.Image(heat, visible=True, alt_text=f"Heat map of the face: what speaks for {label}"),
            self._told: told,
        }

    def _net(self, source: str) -> ShownNet:
        if source not in self._sources:  # which the page does not send; others could, and name any file
            raise ValueError(f"{source} is not offered.")
        return self._open_net(source)

    def _card_of(self, source: str) -> str:
        net = self._net(source)
        return card_page(_short(source), net.classifier, net.record)


def application(page: DemoPage, max_file_size: int) -> ASGIApp:
    """What `serve` takes.

    Args:
        page: The page.
        max_file_size: Of uploads, in bytes.
    """
    app = FastAPI(openapi_url=None)
    return gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=max_file_size,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        css_paths=_STYLE,
    )


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


def _still(name: str) -> gr.Image:
    """A small picture that can only be looked at."""
    return gr.Image(show_label=False, buttons=[], interactive=False, min_width=100, elem_id=name)


def _message(text: str, refused: bool = False) -> str:
    role, kind = ("alert", "refused") if refused else ("status", "told")
    return f'<p role="{role}" class="fer-message {kind}">{escape(text)}</p>'


def _told(face: Prediction) -> str:
    return f"{face.label} {percent(face.confidence)}"


def _short(source: str) -> str:
    """A folder or file by its last names, which tell more than where it lies."""
    return "/".join(Path(source).parts[-2:])
