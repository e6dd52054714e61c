"""`fer demo`: a page on this machine to try a net, with a picture or the camera."""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import cache, partial
from tempfile import TemporaryDirectory

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from fer_lightning.errors import UserError


def run(cfg: DictConfig) -> None:
    """Serves the page until Ctrl-C.

    Args:
        cfg: Composed from `conf/demo.yaml`.
    """
    for name in ("max_file_size", "max_megapixels", "max_faces"):
        if cfg[name] <= 0:
            raise UserError(f"{name}={cfg[name]} would refuse every picture: use more than 0.")
    # Ends what is open, as Ctrl-C does; by default the folder of pictures would stay.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with TemporaryDirectory(prefix="fer_demo_") as folder:
        # Gradio looks at both when it is imported.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        try:
            _serve(cfg)
        except KeyboardInterrupt:
            print("\nThe page is closed, and the pictures are deleted.")
    gc.freeze()  # Python would look through all that was imported before it ends, for two seconds


def _serve(cfg: DictConfig) -> None:
    console = Console()
    with console.status("Opening the net ..."):
        try:
            from fer_lightning.deploy.demo.page import DemoPage, application
            from fer_lightning.deploy.demo.server import is_loopback, listen, serve
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in ("gradio", "fastapi", "uvicorn", "starlette"):
                raise
            raise UserError(
                f"The page needs {error.name}, which is not installed: run pip install 'fer_lightning[demo]'."
            ) from None
        from fer_lightning.deploy.demo.shown_net import ShownNet
        from fer_lightning.training.checkpoint import shipped_nets

        sources = [cfg.checkpoint, *(name for name in shipped_nets() if name != cfg.checkpoint)]
        page = DemoPage(sources, cache(partial(ShownNet, max_faces=cfg.max_faces)), cfg.max_megapixels, _example())
    with listen(cfg.host, cfg.port) as listening:
        host, port = listening.getsockname()
        if port != cfg.port and cfg.port != 0:
            print(f"Port {cfg.port} is taken; the page has the next free one.")
        if not is_loopback(host):
            print(
                f"WARNING: host={cfg.host} lets everyone on your network use this page, and pictures travel there "
                "unencrypted. Browsers allow the camera only where the address is 127.0.0.1."
            )
        print(f"The page: http://{host}:{port}  (Ctrl-C ends it)", flush=True)
        serve(application(page, int(2**20 * cfg.max_file_size)), listening)


def _example() -> np.ndarray | None:
    """A portrait in the public domain, where scikit-image, which carries it, is installed."""
    try:
        from skimage.data import astronaut
    except ImportError:
        return None
    return astronaut()
