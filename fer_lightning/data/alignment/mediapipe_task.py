"""Opens MediaPipe's models: quietly, and with the user's words where something is not installed."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fer_lightning.errors import UserError

_open: weakref.WeakSet[Any] = weakref.WeakSet()


def open_task(create: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Opens a model of MediaPipe, importing the library first.

    Args:
        create: Opens it, given the module `mediapipe`.

    Returns:
        The module `mediapipe`, and the model.

    Raises:
        UserError: MediaPipe, or a system library that it loads, is not installed.
    """
    try:
        import mediapipe
    except ModuleNotFoundError as error:
        raise UserError(
            f"Finding faces needs {error.name}, which is not installed: run pip install 'fer_lightning[align]'."
        ) from None
    _outlive_profiling_timer()
    try:
        with _silent_stderr():
            task = create(mediapipe)
    except OSError as error:
        raise UserError(
            f"MediaPipe cannot load its system libraries ({error}): on Debian and Ubuntu, run "
            "apt install libegl1 libgles2."
        ) from None
    _open.add(task)
    return mediapipe, task


def close_task(task: Any) -> None:
    """Closes a model, which may have been closed before; those that are open when Python ends are closed then."""
    with _silent_stderr():
        task.close()


@atexit.register
def _close_all() -> None:
    # Registered before MediaPipe is imported, so called after its own clean-up: without that, or later than this, it
    # prints a traceback for each open model.
    for task in list(_open):
        close_task(task)


def _outlive_profiling_timer() -> None:
    """Ignores SIGPROF where Python has put its deadly default back.

    MediaPipe's library starts a profiling timer and ignores its signal, but Lightning resets every signal when a fit
    ends: the next model of the process would kill it. Only the main thread may set signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and hasattr(signal, "SIGPROF") and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what native code writes to standard error.

    MediaPipe's library logs while it loads a model, whatever `GLOG_minloglevel` and its kin say, and tears the progress
    bars of the other processes on the terminal. What goes wrong is raised as an exception all the same.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
