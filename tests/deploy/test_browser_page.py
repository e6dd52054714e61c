"""The static page as its visitors meet it: files on a plain server, in a real browser."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageEnhance

from fer_lightning.deploy.browser_page import SOURCES, detector_graph, install_packages, write_page
from fer_lightning.deploy.onnx import export_onnx, onnx_metadata
from fer_lightning.errors import UserError
from fer_lightning.inference import FaceFinder, Predictor
from fer_lightning.training.checkpoints import load_net

SECONDS = 120  # on a busy machine
READ = "() => /^(One face|\\d+ faces|No face)/.test(document.querySelector('#message').textContent)"
LARGEST_LOAD = 15e6  # bytes
SLOWEST = 1 / 15  # seconds of processor time a frame of the camera


def installed(make: Callable[..., Any], *arguments: Any) -> Any:
    """What `make` returns; skips the test where npm or its registry is out of reach."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm: apt-get install npm")
    try:
        return make(*arguments)
    except UserError as error:
        if re.search("ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT", str(error)):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "site"
    installed(write_page, "ferplus", folder)
    return folder


@pytest.fixture
def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@contextmanager
def serving(folder: Path) -> Iterator[SimpleNamespace]:
    """A server of files; its `asked` grows by the path of each request."""
    asked: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield SimpleNamespace(address=f"http://127.0.0.1:{server.server_port}/", asked=asked)
        server.shutdown()


@pytest.fixture
def visiting(open_browser: Callable[..., AbstractContextManager[Any]]) -> Callable[..., AbstractContextManager[Any]]:
    """`with visiting(site, *options) as page:` opens a page that must meet no error; `page.server` is of `serving`."""

    @contextmanager
    def visit(site: Path, *options: str, **context: Any) -> Iterator[Any]:
        errors: list[str] = []
        with serving(site) as server, open_browser(*options) as browser:
            page = browser.new_context(**context).new_page()
            page.set_default_timeout(1000 * SECONDS)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.goto(server.address)
            page.locator("body[data-ready]").wait_for()
            page.server, page.errors = server, errors
            yield page
        assert errors == []

    return visit


def read(page: Any, picture: Path) -> str:
    """The message after a picture was read to its end."""
    page.locator("#file").set_input_files(picture)
    page.wait_for_function(READ)
    return page.locator("#message").inner_text().replace("\N{NO-BREAK SPACE}", " ")


def probabilities(page: Any) -> dict[str, float]:
    """What the bars say, in 0..1."""
    rows = [row.split() for row in page.locator("#bars li").all_inner_texts()]
    return {name: float(share) / 100 for name, share, _ in rows}


def test_the_detector_as_onnx_is_that_of_mediapipe(astronaut):
    session = onnxruntime.InferenceSession(detector_graph().SerializeToString())
    picture = cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA)
    image = (picture.transpose(2, 0, 1)[None] / np.float32(127.5) - 1).astype(np.float32)
    boxes, scores = session.run(["boxes", "scores"], {"image": image})
    best = int(scores.argmax())
    cell = best // 2  # of 16 x 16, which have two anchors each
    points = boxes[0, best].reshape(8, 2)[2:] + np.array((8 * (cell % 16) + 4, 8 * (cell // 16) + 4))
    with FaceFinder(thorough=False) as finder:
        (face,) = finder._detect(_view(picture), 0.5)
    assert 1 / (1 + np.exp(-scores.max())) == pytest.approx(face.score, abs=1e-5)
    assert np.abs(points - face.points).max() < 1  # MediaPipe's are averages of several anchors


def _view(picture: np.ndarray) -> Any:
    return SimpleNamespace(pixels=picture, to_picture=np.eye(2, 3))


def test_valence_and_arousal_are_shown_where_the_net_predicts_them(visiting, site, affect_net, astronaut, tmp_path):
    trained = load_net(affect_net)
    shutil.copytree(site, tmp_path / "site")
    export_onnx(trained.net, onnx_metadata(trained, "net"), tmp_path / "site" / "net.onnx")
    path = tmp_path / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    [face] = Predictor(str(affect_net))(path)
    for folder, expected in ((site, None), (tmp_path / "site", [face.valence, face.arousal])):
        with visiting(folder) as page:
            read(page, path)
            shown = page.locator("#affect").inner_text()
        if expected is None:
            assert shown == ""
        else:
            numbers = re.fullmatch(r"valence ([+-]\d\.\d\d), arousal ([+-]\d\.\d\d)", shown).groups()
            assert [*map(float, numbers)] == pytest.approx(expected, abs=0.03) and any(expected)


def test_without_npm_a_sentence_says_so(fer, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fer("export", "checkpoint=ferplus", "format=page", f"path={tmp_path / 'site'}") == 2
    assert "format=page needs npm, which is not installed" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "site").exists()


def test_no_byte_of_a_picture_leaves_the_machine(visiting, site, astronaut, tmp_path):
    Image.fromarray(astronaut).save(tmp_path / "astronaut.png")
    with visiting(site) as page, socket.create_server(("127.0.0.1", 0)) as other:
        asked = list(page.server.asked)
        assert {"/", "/net.onnx", "/detector.onnx", "/onnxruntime.bin"} <= set(asked) <= {"/", *_files(site)}
        assert len(asked) == len(set(asked))
        assert sum((site / (name[1:] or "index.html")).stat().st_size for name in asked) < LARGEST_LOAD
        assert re.fullmatch(r"One face: happy \d\d\.\d %\.", read(page, tmp_path / "astronaut.png"))
        # Whatever a script of the page tried: the browser refuses, for the page's own server too.
        for address in (page.server.address, f"http://127.0.0.1:{other.getsockname()[1]}/"):
            refused = page.evaluate(
                """async address => {
                    const refusal = [];
                    const note = event => refusal.push(event.effectiveDirective);
                    document.addEventListener("securitypolicyviolation", note);
                    await fetch(address, {method: "POST", body: "pixels"}).catch(() => 0);
                    navigator.sendBeacon(address, "pixels");
                    try { new WebSocket(address.replace("http", "ws")); } catch {}
                    new Image().src = address + "pixels";
                    await import(address + "pixels").catch(() => 0);
                    const frame = document.createElement("iframe");
                    frame.src = address + "pixels";
                    document.body.append(frame);
                    const form = document.createElement("form");
                    Object.assign(form, {action: address, method: "post"});
                    document.body.append(form);
                    form.submit();
                    while (!refusal.includes("form-action")) await new Promise(resume => setTimeout(resume, 100));
                    frame.remove();
                    return refusal;
                }""",
                address,
            )
            assert {"connect-src", "img-src", "script-src-elem", "frame-src", "form-action"} <= set(refused)
        assert page.server.asked == asked
        other.settimeout(1)
        with suppress(TimeoutError):
            while True:  # Chromium connects before it looks at the policy of frames and forms, and says nothing
                connection = other.accept()[0]
                with connection, suppress(TimeoutError):
                    connection.settimeout(1)
                    assert connection.recv(1) == b""
        # What the policy does not govern, and the page does not use.
        sources = "".join((SOURCES / name).read_text() for name in ("index.html", "page.js", "faces.js"))
        assert not re.search(r"RTCPeer|WebTransport|location|open\(.*http|https?://", sources)
        page.errors.clear()  # the refusals


def _files(site: Path) -> set[str]:
    return {f"/{path.name}" for path in site.iterdir()}


def pictures(astronaut: np.ndarray) -> dict[str, Image.Image]:
    """Pictures of one face or two: of the astronaut, and scikit-image's of 25 pixels from Labeled Faces in the Wild."""
    data = pytest.importorskip("skimage.data")
    plain = Image.fromarray(astronaut)
    far = Image.new("RGB", (900, 700), "grey")
    far.paste(plain.resize((200, 200)), (650, 450))
    two = Image.new("RGB", (1000, 520))
    two.paste(plain, (0, 0))
    two.paste(plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((400, 400)), (560, 100))
    faces = [Image.fromarray((255 * face).astype(np.uint8)) for face in data.lfw_subset()[:64:4]]
    return {
        "plain": plain,
        "mirrored": plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "tilted": plain.rotate(20, Image.Resampling.BICUBIC),
        "inverted": plain.rotate(180),
        "dark": ImageEnhance.Brightness(plain).enhance(0.35),
        "small": plain.resize((140, 140)),
        "wide": plain.resize((777, 431)),
        "tight": plain.crop((165, 70, 280, 185)),
        "far": far,
        "two": two,
        **{f"face{index}": face.resize((150, 150), Image.Resampling.BICUBIC) for index, face in enumerate(faces)},
    }


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["half", "int8"])
def test_labels_are_those_of_the_predictor(visiting, site, astronaut, tmp_path, precision):
    net, tolerance = "ferplus", 0.06
    if precision == "int8":
        net, tolerance = str(_quantised(tmp_path)), 0.2  # processors round sums of integers in different ways
        site = shutil.copytree(site, tmp_path / "site")
        shutil.copyfile(net, site / "net.onnx")
    faces = 0
    with visiting(site) as page, Predictor(net, backend="onnxruntime", threads=1) as predictor:
        for name, picture in pictures(astronaut).items():
            path = tmp_path / f"{name}.png"
            picture.save(path)
            expected = predictor(path)
            message = read(page, path)
            assert len(expected) > 0, name
            assert message.startswith("One face" if len(expected) == 1 else f"{len(expected)} faces"), name
            for index, prediction in enumerate(expected):
                if len(expected) > 1:
                    page.locator("#faces label").nth(index).click()
                shares = probabilities(page)
                difference = max(abs(shares[label] - share) for label, share in prediction.probabilities.items())
                assert difference < tolerance, (name, shares, prediction)
                certain = sorted(prediction.probabilities.values())
                if precision == "half" or certain[-1] - certain[-2] > tolerance:
                    assert max(shares, key=shares.__getitem__) == prediction.label, name
                faces += 1
    assert faces >= 20


def _quantised(folder: Path) -> Path:
    """The shipped network in 8-bit integers, calibrated on synthetic faces."""
    from fer_lightning.deploy.onnx import export_onnx, onnx_metadata, quantize, write_onnx
    from fer_lightning.deploy.parity import synthetic_faces
    from fer_lightning.training.checkpoints import load_net

    trained = load_net(Path("ferplus"))
    metadata = onnx_metadata(trained, "ferplus")
    export_onnx(trained.net, metadata, folder / "float.onnx")
    batches = list(synthetic_faces(trained.description["preprocessing"]).batches())
    path = folder / "int8.onnx"
    write_onnx(quantize(folder / "float.onnx", batches, "minmax"), {**metadata, "precision": "int8"}, path)
    return path


def film(astronaut: np.ndarray, path: Path) -> Path:
    """Two seconds of the astronaut, who moves to and fro, for the camera of the browser."""
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420\n")
        for number in range(60):
            left = 80 + round(40 * np.sin(2 * np.pi * number / 60))
            frame = np.zeros((480, 640, 3), np.uint8)
            frame[:, left : left + 480] = cv2.resize(astronaut, (480, 480), interpolation=cv2.INTER_AREA)
            y, blue, red = (np.array(channel) for channel in Image.fromarray(frame).convert("YCbCr").split())
            file.write(b"FRAME\n" + y.tobytes() + blue[::2, ::2].tobytes() + red[::2, ::2].tobytes())
    return path


@pytest.mark.slow
def test_the_camera_is_followed_at_15_frames_a_second_on_one_core(visiting, site, astronaut, tmp_path):
    camera = f"--use-file-for-fake-video-capture={film(astronaut, tmp_path / 'camera.y4m')}"
    options = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", camera)
    with visiting(site, *options) as page:
        asked = list(page.server.asked)
        button = page.get_by_role("button", name="Use the camera")
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_function(READ)
        assert "One face: happy" in page.locator("#message").inner_text()
        page.evaluate(
            """() => {
                const { prototype } = CanvasRenderingContext2D;
                const { putImageData } = prototype;
                window.frames_shown = 0;
                prototype.putImageData = function (...values) {
                    window.frames_shown++;
                    return putImageData.apply(this, values);
                };
            }"""
        )
        browser = page.context.new_cdp_session(page)
        browser.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the processor, not of the clock

        def state() -> tuple[float, int]:
            metrics = {each["name"]: each["value"] for each in browser.send("Performance.getMetrics")["metrics"]}
            return metrics["TaskDuration"], page.evaluate("window.frames_shown")

        page.wait_for_function("() => window.frames_shown > 30")  # the browser compiles what is run often
        started, (used, shown) = perf_counter(), state()
        page.wait_for_function(f"() => window.frames_shown > {shown + 60}")
        used, shown = (after - before for after, before in zip(state(), (used, shown)))
        rate = shown / (perf_counter() - started)
        print(f"{1000 * used / shown:.1f} ms of processor time a frame, {rate:.0f} frames a second of the clock")
        assert used / shown < SLOWEST
        assert re.fullmatch(r"\d+ frames/s", page.locator("#rate").inner_text())
        page.get_by_role("button", name="Stop the camera").click()
        page.get_by_text("The camera is off.").wait_for()
        assert page.get_by_role("button", name="Use the camera").get_attribute("aria-pressed") == "false"
        assert page.server.asked == asked


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(visiting, site, astronaut, tmp_path, width, scheme):
    """Rules of axe-core (WCAG 2.1 AA and best practice), on phones and in the dark; and no mouse."""
    two = np.hstack([astronaut, astronaut[:, ::-1]])
    Image.fromarray(two).save(tmp_path / "two.png")
    (tmp_path / "npm").mkdir()
    axe = (installed(install_packages, tmp_path / "npm") / "axe-core" / "axe.min.js").read_text()
    with visiting(site, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:

        def check() -> None:
            assert page.evaluate("document.documentElement.scrollWidth") == width
            page.evaluate(axe)
            violations = page.evaluate("axe.run().then(result => result.violations)")
            assert violations == [], [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations]

        def focused() -> str:
            return str(page.evaluate("document.activeElement.id"))

        page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "two.png"))
        page.keyboard.press("Tab")
        check()  # the browser needs a moment until it reports choosers
        assert focused() == "choose"
        page.keyboard.press("Enter")
        page.wait_for_function(READ)
        assert page.locator("#message").get_attribute("role") == "status"
        page.locator("#choose").focus()
        page.keyboard.press("Tab")
        assert focused() == "camera"
        page.keyboard.press("Tab")
        assert focused() == "face0"
        page.keyboard.press("ArrowRight")
        assert re.match(r"Face 2 of 2: happy", page.locator("#message").inner_text())
        assert page.locator("#faces input").nth(1).is_checked()
        check()
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")


@pytest.mark.slow
def test_pictures_are_dropped_and_pasted_and_other_files_are_refused(visiting, site, astronaut, tmp_path):
    path = tmp_path / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    (tmp_path / "text.png").write_text("These are words.")
    Image.new("RGB", (300, 200)).save(tmp_path / "black.png")
    with visiting(site) as page:
        for event in (
            "new DragEvent('drop', {dataTransfer: data})",
            "new ClipboardEvent('paste', {clipboardData: data})",
        ):
            assert read(page, tmp_path / "black.png").startswith("No face is found")
            assert not page.locator("#result").is_visible()
            page.evaluate(
                f"""encoded => {{
                    const data = new DataTransfer();
                    const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
                    data.items.add(new File([bytes], "astronaut.png", {{type: "image/png"}}));
                    document.dispatchEvent({event});
                }}""",
                base64.b64encode(path.read_bytes()).decode(),
            )
            page.wait_for_function(READ)
            assert "One face: happy" in page.locator("#message").inner_text()
            page.locator("#file").set_input_files(tmp_path / "text.png")
            page.get_by_text("This file is not a picture that the browser can read").wait_for()
            assert not page.locator("#picture").is_visible() and not page.locator("#result").is_visible()


@pytest.mark.slow
def test_the_picture_in_the_documentation(visiting, site, astronaut, tmp_path):
    """FER_PAGE_PICTURE=experiments/demo/page.png pytest -m slow tests/deploy/test_browser_page.py -k documentation."""
    path = Path(os.environ.get("FER_PAGE_PICTURE", tmp_path / "page.png"))
    Image.fromarray(astronaut).save(tmp_path / "astronaut.png")
    with visiting(site, viewport={"width": 1100, "height": 800}, color_scheme="dark") as page:
        read(page, tmp_path / "astronaut.png")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.width == 1100
        picture.convert("RGB").quantize(64).save(path, optimize=True)
