"""`fer demo`: local web page to try a network with a picture or the camera."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import cache, partial
from math import inf
from tempfile import TemporaryDirectory
from threading import Timer

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from fer_lightning.errors import UserError

_PATIENCE = 5  # most seconds between a signal and the exit


def run(cfg: DictConfig) -> None:
    """Serves the page until Ctrl-C."""
    for name in ("max_file_size", "max_megapixels", "max_faces", "max_uploads_per_minute"):
        if not (isinstance(cfg[name], (int, float)) and 0 < cfg[name] < inf):
            raise UserError(f"{name} must be a positive number; got {cfg[name]}.")
    # Signals are handled like Ctrl-C, so that the folder below is removed. Windows has no SIGHUP; nohup ignores it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    try:
        with TemporaryDirectory(prefix="fer_demo_") as folder:
            # Gradio reads both on import. No picture should be written to the folder; it is a precaution.
            os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
            _serve(cfg, partial(_end_soon, folder))
    except KeyboardInterrupt:
        print("\nThe page is closed, and the pictures are deleted.")
    finally:
        gc.freeze()  # otherwise the garbage collector delays the exit by two seconds or more


def _end_soon(folder: str, number: int) -> None:
    """Ends this process shortly after a signal, even if it still computes or waits."""

    def end() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + number)

    timer = Timer(_PATIENCE, end)
    timer.daemon = True
    timer.start()


def _serve(cfg: DictConfig, when_stopping: Callable[[int], None]) -> None:
    console = Console()
    with console.status("Opening the net ..."):
        try:
            from fer_lightning.deploy.demo_page import DemoPage
            from fer_lightning.deploy.demo_server import address_of, application, is_loopback, listen, serve
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in ("gradio", "fastapi", "uvicorn", "starlette"):
                raise
            raise UserError(
                f"fer demo needs {error.name}, which is not installed: run pip install 'fer_lightning[demo]'."
            ) from None
        from fer_lightning.deploy.demo_page import ShownNet
        from fer_lightning.training.safetensors_weights import shipped_nets

        sources = [*dict.fromkeys([str(cfg.checkpoint), *shipped_nets()])]
        open_net = cache(partial(ShownNet, max_faces=cfg.max_faces))
        page = DemoPage(sources, open_net, cfg.max_megapixels, int(2**20 * cfg.max_file_size), _example())
    with listen(str(cfg.host or ""), cfg.port) as listening:
        host, port = listening.getsockname()[:2]
        if port != cfg.port and cfg.port != 0:
            print(f"Port {cfg.port} is in use; the page uses the next free one.")
        if not is_loopback(host):
            print(
                f"WARNING: host={cfg.host} lets everyone on your network use this page, and pictures travel there "
                "unencrypted. Browsers allow the camera only where the address is 127.0.0.1."
            )
        print(f"The page: {address_of(listening)}  (Ctrl-C ends it)", flush=True)
        serve(application(page, cfg.max_uploads_per_minute), listening, when_stopping)


def _example() -> np.ndarray | None:
    """Portrait in the public domain from scikit-image; None if that is not installed."""
    try:
        from skimage.data import astronaut
    except ImportError:
        return None
    return astronaut()
