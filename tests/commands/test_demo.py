"""`fer demo` as its visitors meet it: a process of its own, in a real browser."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from fer_lightning.commands.demo import run
from fer_lightning.errors import UserError

CLASSES = {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"}
SECONDS = 120  # on a busy machine


@contextmanager
def demo(*options: str, **environment: str) -> Iterator[SimpleNamespace]:
    """`fer demo`; tells its `address`, its `port`, everything it `said` until then and the `process`."""
    command = [sys.executable, "-m", "fer_lightning", "demo", *options]
    # A process that a shell started in the background ignores Ctrl-C, and so would this one.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=heed, env={**os.environ, **environment}
    )
    hangs = Timer(5 * SECONDS, process.kill)  # which ends what is read
    hangs.start()
    try:
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"http://[\d.]+:(\d+)", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        yield SimpleNamespace(address=found[0], port=int(found[1]), said=said, process=process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert process.stdout.read().strip() == "The page is closed, and the pictures are deleted."
            assert process.wait(timeout=SECONDS) == 0
    finally:
        hangs.cancel()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A page of small limits; `asked_elsewhere()` tells whether its server wanted anything of the internet.

    Whatever it asks for there goes to a proxy, and that is a socket of ours.
    """
    temporary = tmp_path_factory.mktemp("temporary")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), address)

        def asked_elsewhere() -> bool:
            try:
                proxy.accept()
            except BlockingIOError:
                return False
            return True

        with demo("port=0", "max_file_size=1", "max_megapixels=9", TMPDIR=str(temporary), **proxies) as started:
            started.asked_elsewhere = asked_elsewhere
            started.temporary = temporary
            yield started
    assert [path for path in temporary.rglob("*") if path.is_file()] == []  # no picture stays


@pytest.fixture
def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture
def browsing(open_browser: Callable[..., AbstractContextManager[Any]]) -> Callable[..., AbstractContextManager[Any]]:
    """`with browsing(address) as page:` opens a page that must ask nobody but the server and meet no error."""

    @contextmanager
    def browse(address: str, *options: str, **context: Any) -> Iterator[Any]:
        asked, errors = [], []
        with open_browser(*options) as browser:
            page = browser.new_context(**context).new_page()
            page.set_default_timeout(1000 * SECONDS)
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.goto(address)
            page.locator("#card").wait_for()
            yield page
        assert {url for url in asked if not url.startswith((f"{address}/", "data:", "blob:"))} == set()
        assert errors == []

    return browse


def upload(page: Any, path: Path) -> None:
    page.locator("#upload input[type=file]").set_input_files(path)


def told(page: Any, words: str) -> str:
    """The message of the page, as soon as it has these words."""
    page.locator("#message p", has_text=words).wait_for()
    return page.locator("#message").inner_text()


def probabilities(page: Any) -> dict[str, float]:
    """What the bars say, in percent."""
    bars = page.locator("#bars button")
    bars.first.wait_for()
    words = [bars.nth(index).inner_text().split() for index in range(bars.count())]
    return {word: float(number.rstrip("%")) for word, number in words}


def pixels(image: Any) -> np.ndarray:
    """What an image element shows, as soon as it is loaded, made smaller: int64 `(48, 48, 3)`."""
    image.wait_for()
    values = image.evaluate(
        """async image => {
            await image.decode();
            const context = new OffscreenCanvas(48, 48).getContext("2d");
            context.drawImage(image, 0, 0, 48, 48);
            return Array.from(context.getImageData(0, 0, 48, 48).data);
        }"""
    )
    return np.array(values).reshape(48, 48, 4)[..., :3]


def test_a_visitor_tries_a_picture_and_a_file_that_is_none(browsing, served, astronaut, tmp_path):
    Image.fromarray(astronaut).save(tmp_path / "astronaut.jpg")
    (tmp_path / "text.jpg").write_text("These are words.")
    with browsing(served.address) as page:
        upload(page, tmp_path / "astronaut.jpg")
        assert re.fullmatch(r"One face: happy \d\d\.\d %\.", told(page, "One face"))
        shares = probabilities(page)
        assert set(shares) == CLASSES and next(iter(shares)) == "happy" and shares["happy"] > 50
        assert sum(shares.values()) == pytest.approx(100, abs=4)
        crop, heat = (pixels(page.locator(image)) for image in ("#crop img", "#heat img"))
        assert np.ptp(crop, axis=2).max() < 10 < 100 < np.ptp(heat, axis=2).max()  # grey, and coloured
        assert "happy" in page.locator("#evidence").inner_text()
        assert "interval" in page.locator("#card").inner_text()
        upload(page, tmp_path / "text.jpg")
        assert "use a JPEG" in told(page, "not a picture")
        page.locator("#result").wait_for(state="hidden")
    assert not served.asked_elsewhere()
    assert not any(path.is_file() for path in served.temporary.rglob("*"))  # pictures stay in memory
    with pytest.raises(ConnectionRefusedError):  # an address that other interfaces than 127.0.0.1 would have
        socket.create_connection(("127.0.0.2", served.port), timeout=5)


@pytest.mark.slow
def test_every_refusal_is_a_sentence(browsing, served, astronaut, tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > 2**20
    Image.new("RGB", (4000, 3000)).save(tmp_path / "many_pixels.png")
    Image.fromarray(noise[:200, :200]).save(tmp_path / "noise.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny.png")
    Image.fromarray(astronaut).save(tmp_path / "astronaut.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "astronaut.png").read_bytes()[:200_000])
    with browsing(served.address) as page:
        for name, words in (
            ("many_pixels.png", "4000 x 3000 pixels, more than the 9 megapixels that are allowed"),
            ("noise.png", "No face was found"),
            ("tiny.png", "No face was found"),
            ("broken.png", "This picture is broken"),
        ):
            upload(page, tmp_path / name)
            assert told(page, words).count(".") == 1
            assert page.locator("#message p[role=alert]").count() == 1
            assert not page.locator("#result").is_visible()
            if name != "broken.png" and name != "many_pixels.png":
                page.get_by_role("button", name="Remove Image").click()
                told(page, "Choose a picture")
        upload(page, tmp_path / "large.png")
        toast = page.get_by_text('exceed the maximum allowed size of 1.0 Mb: "large.png"')
        toast.wait_for()
        assert not page.locator("#result").is_visible()


def answer(address: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
    """Status of a request that goes to no proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, body, headers or {}), timeout=SECONDS) as answered:
            return answered.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_server_itself_holds_what_the_page_promises(served):
    """Whoever talks to it without the page."""
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for size, status in ((900_000, 200), (1_100_000, 413)):
        body = start + bytes(size) + b"\r\n--x--\r\n"
        assert answer(f"{served.address}/gradio_api/upload", body, kind) == status
    for path in (
        "gradio_api/info",
        "openapi.json",
        "docs",
        "monitoring",
        "gradio_api/proxy=http://a.example/",
        "login",
    ):
        assert answer(f"{served.address}/{path}") == 404
    assert answer(f"{served.address}/gradio_api/file=/etc/hostname") in (403, 404)
    assert answer(served.address, headers={"Host": "evil.example"}) == 400
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in own:
        with pytest.raises(OSError):
            socket.create_connection((address, served.port), timeout=5)
    assert not served.asked_elsewhere()


@pytest.mark.slow
def test_several_faces_other_expressions_and_other_nets(browsing, served, astronaut, tmp_path):
    larger = np.array(Image.fromarray(astronaut).resize((768, 768)))
    both = np.zeros((768, 1280, 3), np.uint8)
    both[:, :768], both[:512, 768:] = larger, astronaut[:, ::-1]
    Image.fromarray(both).save(tmp_path / "two.jpg")
    with browsing(served.address) as page:
        upload(page, tmp_path / "two.jpg")
        told(page, "2 faces")
        faces = page.locator("#faces input[type=radio]")
        assert faces.count() == 2 and faces.nth(0).is_checked()
        first = pixels(page.locator("#crop img"))
        shown = page.locator("#crop img").get_attribute("src")
        faces.nth(0).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        page.wait_for_function(f"document.querySelector('#crop img').getAttribute('src') != '{shown}'")
        second = pixels(page.locator("#crop img"))
        # The other is its mirror image, and smaller.
        assert np.abs(first - second[:, ::-1]).mean() < 18 < np.abs(first - second).mean()
        picture = page.locator("#boxes img")
        box = picture.bounding_box()
        scale = min(box["width"] / 1280, box["height"] / 768)  # the picture lies in the middle of its element
        left, top = (box["width"] - 1280 * scale) / 2, (box["height"] - 768 * scale) / 2
        picture.click(position={"x": left + 335 * scale, "y": top + 190 * scale})
        page.wait_for_function("document.querySelectorAll('#faces input')[0].checked")
        before = page.locator("#heat img").get_attribute("src")
        page.locator("#bars button", has_text="surprise").click()
        page.locator("#evidence strong", has_text="surprise").wait_for()
        assert page.locator("#heat img").get_attribute("src") != before
        page.get_by_role("radio", name="fer2013").click()
        page.locator("#card h2", has_text="fer2013").wait_for()
        page.locator("#bars button", has_text="contempt").wait_for(state="detached")
        assert set(probabilities(page)) == CLASSES - {"contempt"}
        assert "62.7 % of these pictures" in page.locator("#card").inner_text()


@pytest.mark.slow
def test_the_camera(browsing, served, astronaut, tmp_path):
    """A camera of the browser's own that films the astronaut, on the right side of the picture."""
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, 160:] = np.array(Image.fromarray(astronaut).resize((480, 480)))
    y, blue, red = (np.array(channel) for channel in Image.fromarray(frame).convert("YCbCr").split())
    planes = y.tobytes() + blue[::2, ::2].tobytes() + red[::2, ::2].tobytes()
    film = tmp_path / "camera.y4m"
    film.write_bytes(b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420\n" + 5 * (b"FRAME\n" + planes))
    options = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with browsing(served.address, *options, f"--use-file-for-fake-video-capture={film}") as page:
        page.get_by_role("button", name="Capture from camera").click()
        page.get_by_text("Click to Access Webcam").click()
        page.locator("#upload video").wait_for()
        page.wait_for_function("document.querySelector('#upload video').videoWidth > 0")
        page.get_by_role("button", name="capture photo").click()
        assert "happy" in told(page, "One face")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phones_and_the_dark(browsing, served, width, scheme):
    with browsing(served.address, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        page.get_by_role("button", name="Try an example picture").press("Enter")  # by keyboard
        told(page, "One face")
        page.locator("#heat img").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for text in ("#message p", "#evidence p", "#card dt", "#card dd", "#card li", "header p"):
            assert contrast(page.locator(text).first) > 4.5, text  # WCAG 2.1, level AA
        assert page.locator("img:not([alt])").count() == 0
        assert page.locator("h1").count() == 1


def contrast(element: Any) -> float:
    """Of text to what lies behind it: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""
    colours = element.evaluate(
        """element => {
            const text = getComputedStyle(element).color;
            let behind = element;
            const ground = () => getComputedStyle(behind).backgroundColor;
            while (/, 0\\)$|transparent/.test(ground())) behind = behind.parentElement;
            const canvas = new OffscreenCanvas(1, 1).getContext("2d");
            return [text, ground()].map(colour => {
                canvas.fillStyle = colour;
                canvas.fillRect(0, 0, 1, 1);
                return Array.from(canvas.getImageData(0, 0, 1, 1).data.slice(0, 3));
            });
        }"""
    )
    linear = np.array(colours) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.slow
def test_the_picture_in_the_readme(browsing, served, tmp_path):
    """FER_DEMO_PICTURE=experiments/demo/demo.png pytest -m slow tests/commands/test_demo.py -k readme takes it anew."""
    path = Path(os.environ.get("FER_DEMO_PICTURE", tmp_path / "demo.png"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with browsing(served.address, viewport={"width": 1200, "height": 900}, color_scheme="light") as page:
        page.get_by_role("button", name="Try an example picture").click()
        told(page, "One face")
        for image in ("#boxes img", "#crop img", "#heat img"):
            pixels(page.locator(image))
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)  # what fades in
        result = page.locator("#result").bounding_box()
        height = result["y"] + result["height"] + 16  # without the card
        page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": 1200, "height": height})
    with Image.open(path) as picture:
        assert picture.width == 1200


@pytest.mark.slow
def test_a_taken_port_and_an_open_host_are_told():
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with demo(f"port={port}", "host=0.0.0.0") as started:
            assert f"Port {port} is in use; the page uses the next free one." in started.said
            assert "everyone on your network" in " ".join(started.said.split())
            assert port < started.port < port + 100
            assert answer(f"http://127.0.0.2:{started.port}") == 200


@pytest.mark.slow
def test_being_terminated_leaves_no_pictures_either(tmp_path):
    with demo("port=0", TMPDIR=str(tmp_path)) as started:
        (folder,) = tmp_path.glob("fer_demo_*")
        started.process.terminate()
        assert started.process.wait(timeout=SECONDS) == 143
    assert not folder.exists()


BLOCKED = """
import sys, time
from functools import partial
from fer_lightning.commands import demo
from fer_lightning.deploy import demo_server as server

async def page(scope, receive, send):
    if scope["type"] == "http":
        time.sleep(3600)

demo._PATIENCE = 0.5
with server.listen("127.0.0.1", 0) as listening:
    print(listening.getsockname()[1], flush=True)
    server.serve(page, listening, partial(demo._end_soon, sys.argv[1]))
"""


def test_a_server_that_hangs_ends_too(start_copy, tmp_path):
    folder, printed = tmp_path / "pictures", tmp_path / "printed"
    folder.mkdir()
    process = start_copy(BLOCKED, folder, outputs=[printed, tmp_path / "errors"])
    try:
        while not (printed.exists() and printed.read_text().endswith("\n")):
            assert process.poll() is None
            time.sleep(0.05)
        port = int(printed.read_text())
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=SECONDS) == 143
    finally:
        process.kill()
    assert not folder.exists()


LIMITS = {"max_file_size": 1, "max_megapixels": 1, "max_faces": 1, "max_uploads_per_minute": 1}


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "abc", None, [1]])
@pytest.mark.parametrize("option", LIMITS)
def test_limits_that_would_refuse_all_are_refused(option, value):
    with pytest.raises(UserError, match=rf"^{option} must be a positive number; got .*\.$"):
        run(OmegaConf.create({**LIMITS, option: value}))


@pytest.mark.slow
def test_a_net_that_is_not_there_is_a_sentence(fer_process):
    ended = fer_process("demo", "checkpoint=nowhere")
    assert ended.returncode == 2 and ended.stderr.startswith("fer demo: ") and "nowhere" in ended.stderr
    assert ended.stderr.count("\n") == 1
