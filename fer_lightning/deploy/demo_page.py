"""Page of the demo: its components, its events, and the networks that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from html import escape
from io import BytesIO
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

import gradio as gr
import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, create_model

from fer_lightning.deploy.demo_gate import PICTURE, Call, UploadedPicture, read_upload
from fer_lightning.deploy.demo_memory import PictureStore, Recent, Seen
from fer_lightning.deploy.model_card import card_page
from fer_lightning.errors import UserError
from fer_lightning.explain.figures import overlay
from fer_lightning.explain.gradcam import gradcam
from fer_lightning.inference.annotate import draw_boxes
from fer_lightning.inference.classifier import TorchClassifier, normalise
from fer_lightning.inference.predictions import Prediction
from fer_lightning.inference.predictor import Predictor
from fer_lightning.plots.text import percent

_Shown = dict[Any, Any]  # components of the page and their new values
_Inputs = dict[Any, Any]  # components of the page and the types of their values
_SEEN_BYTES = 2**29  # for all visitors together; a picture of the size of a screen has about 8 MB
_UPLOADED_FILES = 20  # of the maximum size, in memory
_TITLE = "Facial expression recognition"
_HEADING = """<header><h1>What does this face express?</h1>
<p>Drop a picture: the page finds the faces, and shows which expression a net reads in each and where it looks.
An expression is not a feeling: <a href="#limits">what the net cannot know</a>.
<strong>Pictures stay on the machine that serves this page, and are not kept.</strong></p></header>"""
_HINT = "Choose a picture, drop or paste one, or take one with the camera."
_NO_FACE = "No face was found in this picture: use one where a face is larger, well lit and seen from the front."
_FORGOTTEN = "This picture has expired: choose it again."
_NO_GRADIENT = "Grad-CAM needs gradients, which an .onnx file does not have: choose the run from which it was exported."
_SHOWN_SIDE = 336  # pixels: faces of 48 are shown larger


class _Place(BaseModel):
    """Place of a click, in pixels of the picture."""

    index: tuple[FiniteFloat, FiniteFloat]
    value: None = None


class _Bar(BaseModel):
    """Expression whose bar was clicked."""

    index: int
    value: str


class DemoPage:
    """Web page that shows the predictions of networks.

    Args:
        sources: Networks to choose from, see `open_classifier`; the first one is the default.
        open_net: Function that opens a network; it is called often and should cache its results.
        max_megapixels: Maximum size of a picture.
        max_file_size: Limit of an upload, in bytes.
        example: Example picture, uint8 `(H, W, 3)`; None for a page without one.

    Attributes:
        blocks: Gradio's application.
        calls: Schema of the calls that `blocks` makes, see `Call`.
        pictures: Store of the uploads and of the pictures for browsers.
        max_file_size: Limit of an upload, in bytes.
    """

    def __init__(
        self,
        sources: Sequence[str],
        open_net: Callable[[str], ShownNet],
        max_megapixels: float,
        max_file_size: int,
        example: np.ndarray | None,
    ) -> None:
        self._net = open_net
        self._sources = sources
        self._max_megapixels = max_megapixels
        self._example = example
        self.max_file_size = max_file_size
        self.pictures = PictureStore(_UPLOADED_FILES * max_file_size)
        self._seen: Recent[Seen] = Recent(_SEEN_BYTES)
        self._calls: list[type[BaseModel]] = []
        with gr.Blocks(title=_TITLE, analytics_enabled=False) as self.blocks:
            self._lay_out()
            self._connect()
        self.calls: TypeAdapter[Any] = TypeAdapter(reduce(or_, self._calls))

    def forget_old(self) -> None:
        """Removes expired pictures."""
        self.pictures.forget_old()
        self._seen.forget_old()

    def _lay_out(self) -> None:
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
                    self._evidence = gr.HTML(padding=False, elem_id="evidence")
        self._card = gr.HTML(self._card_of(self._sources[0]), padding=False, elem_id="card")

    def _connect(self) -> None:
        source: _Inputs = {self._source: Literal[tuple(self._sources)]}
        face: _Inputs = {self._faces: Annotated[int, Field(ge=0)]}
        shown = [self._boxes, self._bars, self._crop, self._heat, self._evidence]
        read = [self._message, self._placeholder, self._result, self._faces, *shown]
        uploaded: _Inputs = {self._upload: UploadedPicture | None, **source}
        self._when(self._upload.input, self._read_upload, uploaded, [self._upload, *read])
        self._when(self._use_example.click, self._read_example, source, [self._upload, *read])
        self._when(self._source.input, self._change_net, source, [self._card, *read])
        self._when(self._faces.input, self._choose_face, face, read)
        self._when(self._boxes.select, self._choose_place, {}, read, _Place)
        self._when(self._bars.select, self._explain, {}, read, _Bar)

    def _when(
        self,
        event: Any,
        answer: Callable[..., _Shown],
        inputs: _Inputs,
        outputs: list[Any],
        happened: type[BaseModel] | None = None,
    ) -> None:
        """Connects an event of the page with its handler; events are handled one at a time.

        Values are not converted by Gradio, which would write pictures to files.

        Args:
            event: Event of a component.
            answer: Handler of the event.
            inputs: Components whose values the handler takes, and the types of these values.
            outputs: Components that the handler may change.
            happened: Type of the data that the browser sends with the event; None without data.
        """
        number = len(self._calls)
        fields: dict[str, Any] = {
            "fn_index": (Literal[number], ...),
            "data": (tuple.__class_getitem__((*inputs.values(),)), ...),
        }
        fields["event_data"] = (Any, Field(None, exclude=True)) if happened is None else (happened, ...)
        self._calls.append(create_model(f"Call{number}", __base__=Call, **fields))
        event(
            answer,
            [*inputs],
            outputs,
            preprocess=False,
            postprocess=False,
            concurrency_limit=1,
            concurrency_id="net",
            api_visibility="private",
        )

    def _read_upload(self, uploaded: dict[str, Any] | None, source: str, visit: gr.Request) -> _Shown:
        if uploaded is None:
            return self._nothing(visit, _HINT)
        stored = self.pictures.get(uploaded["path"])
        try:
            if stored is None:
                raise UserError(_FORGOTTEN)
            picture = read_upload(stored.content, self._max_megapixels)
        except UserError as error:
            return {self._upload: None, **self._nothing(visit, str(error), refused=True)}
        return self._read(picture, source, visit)

    def _read_example(self, source: str, visit: gr.Request) -> _Shown:
        assert self._example is not None
        return {self._upload: self._for_browsers(self._example), **self._read(self._example, source, visit)}

    def _change_net(self, source: str, visit: gr.Request) -> _Shown:
        seen = self._seen_by(visit)
        return {self._card: self._card_of(source), **({} if seen is None else self._read(seen.picture, source, visit))}

    def _choose_face(self, chosen: int, visit: gr.Request) -> _Shown:
        seen = self._seen_by(visit)
        if seen is None or chosen >= len(seen.predictions):
            return self._nothing(visit, _FORGOTTEN)
        return self._show_face(replace(seen, chosen=chosen), visit)

    def _choose_place(self, place: gr.SelectData, visit: gr.Request) -> _Shown:
        seen = self._seen_by(visit)
        if seen is None:
            return self._nothing(visit, _FORGOTTEN)
        chosen = seen.face_at(*place.index)
        return {self._faces: chosen, **self._show_face(replace(seen, chosen=chosen), visit)}

    def _explain(self, bar: gr.SelectData, visit: gr.Request) -> _Shown:
        seen = self._seen_by(visit)
        if seen is None or bar.value not in seen.face.probabilities:
            return self._nothing(visit, _FORGOTTEN)
        return self._show_heat(seen, bar.value)

    def _seen_by(self, visit: gr.Request) -> Seen | None:
        return self._seen.get(str(visit.session_hash))

    def _read(self, picture: np.ndarray, source: str, visit: gr.Request) -> _Shown:
        predictions = self._net(source).read(picture)
        if not predictions:
            return self._nothing(visit, _NO_FACE, refused=True)
        seen = Seen(source, picture, predictions)
        names = [f"{number}: {_label(face)}" for number, face in enumerate(predictions, start=1)]
        message = f"One face: {_label(seen.face)}." if len(names) == 1 else f"{len(names)} faces; choose one."
        if any(face.low_resolution for face in predictions):
            message += " A face smaller than the input of the network is less reliable."
        return {
            self._message: _message(message),
            self._placeholder: gr.HTML(visible=False),
            self._result: gr.Column(visible=True),
            self._faces: gr.Radio([*zip(names, range(len(names)))], value=0, visible=len(names) > 1),
            **self._show_face(seen, visit),
        }

    def _nothing(self, visit: gr.Request, message: str, refused: bool = False) -> _Shown:
        self._seen.pop(str(visit.session_hash))
        return {
            self._message: _message(message, refused),
            self._placeholder: gr.HTML(visible=True),
            self._boxes: gr.Image(visible=False),
            self._result: gr.Column(visible=False),
        }

    def _show_face(self, seen: Seen, visit: gr.Request) -> _Shown:
        self._seen.put(str(visit.session_hash), seen, seen.picture.nbytes)
        labels = ", ".join(_label(face) for face in seen.predictions)
        by_confidence = sorted(seen.face.probabilities.items(), key=lambda item: item[1], reverse=True)
        confidences = [{"label": label, "confidence": confidence} for label, confidence in by_confidence]
        marked = draw_boxes(seen.picture, seen.predictions, seen.chosen)
        return {
            self._boxes: gr.update(
                value=self._for_browsers(marked), alt_text=f"The picture with boxes: {labels}", visible=True
            ),
            self._bars: {"label": seen.most_probable, "confidences": confidences},
            self._crop: gr.update(
                value=self._for_browsers(enlarge(seen.face.face)), alt_text="The face as the net gets it"
            ),
            **self._show_heat(seen, seen.most_probable),
        }

    def _show_heat(self, seen: Seen, label: str) -> _Shown:
        heat = self._net(seen.source).where_it_looks(seen.face.face, label)
        affect = f"<p>{seen.face.affect.capitalize()}, each from -1 to 1.</p>" if seen.face.affect else ""
        if heat is None:
            return {self._heat: gr.Image(visible=False), self._evidence: f"{affect}<p>{_NO_GRADIENT}</p>"}
        sentence = (
            f"{affect}<p>Left, the face as the net gets it. Right, its Grad-CAM: the redder a place, the more it "
            f"speaks for <strong>{escape(label)}</strong>. Press another expression to see what speaks for that.</p>"
        )
        alt = f"Heat map of the face: what speaks for {label}"
        return {
            self._heat: gr.update(value=self._for_browsers(heat), visible=True, alt_text=alt),
            self._evidence: sentence,
        }

    def _for_browsers(self, picture: np.ndarray) -> dict[str, str]:
        """Stores a picture, and returns its name and address for browsers."""
        encoded = BytesIO()
        Image.fromarray(picture).save(encoded, "JPEG", quality=90)
        name = self.pictures.add(encoded.getvalue(), "image/jpeg")
        return {"path": name, "url": PICTURE + name}

    def _card_of(self, source: str) -> str:
        net = self._net(source)
        return card_page(_short(source), net.classifier, net.record)


def _still(name: str) -> gr.Image:
    """Component for a small picture without controls."""
    return gr.Image(show_label=False, buttons=[], interactive=False, min_width=100, elem_id=name)


def _message(text: str, refused: bool = False) -> str:
    role, kind = ("alert", "refused") if refused else ("status", "plain")
    return f'<p role="{role}" class="fer-message {kind}">{escape(text)}</p>'


def _label(face: Prediction) -> str:
    return f"{face.label} {percent(face.confidence)}"


def _short(source: str) -> str:
    """Last two names of a path."""
    return "/".join(Path(source).parts[-2:])


class ShownNet:
    """A trained network on the page.

    Args:
        source: Path or name of the network, see `open_classifier`.
        max_faces: Maximum number of faces of a picture, the largest first.

    Raises:
        UserError: The network cannot be opened.

    Attributes:
        classifier: Classifier, see `open_classifier`.
        record: Record of its training; empty if the file has none.
    """

    def __init__(self, source: str, max_faces: int) -> None:
        self._predictor = Predictor(source, max_faces=max_faces)
        self.classifier = self._predictor.classifier
        # An .onnx file cannot be differentiated.
        self._trained = self.classifier.trained if isinstance(self.classifier, TorchClassifier) else None
        self.record: Mapping[str, Any] = {} if self._trained is None else self._trained.record

    def read(self, picture: np.ndarray) -> list[Prediction]:
        """Predictions of the faces in a picture, uint8 `(H, W, 3)`, the largest first."""
        return self._predictor(picture)

    def where_it_looks(self, face: np.ndarray, label: str) -> np.ndarray | None:
        """Grad-CAM of a class on a face.

        Args:
            face: Face of a `Prediction`, uint8 `(S, S, C)`.
            label: The class.

        Returns:
            The face with its heat map, uint8 `(E, E, 3)`; None for a network without gradients.
        """
        if self._trained is None:
            return None
        image = torch.from_numpy(normalise(face[None], self.classifier.preprocessing))
        heat = gradcam(self._trained.net, image, torch.tensor([self.classifier.classes.index(label)]))[0]
        smooth = Image.fromarray(heat).resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BICUBIC)
        return overlay(enlarge(face), np.asarray(smooth).clip(0, 1))


def enlarge(face: np.ndarray) -> np.ndarray:
    """Face, uint8 `(S, S, C)`, in the size of the page, `(E, E, 3)`."""
    pixels = Image.fromarray(face[..., 0] if face.shape[2] == 1 else face).convert("RGB")
    return np.asarray(pixels.resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BICUBIC))
