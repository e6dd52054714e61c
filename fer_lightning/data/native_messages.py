"""What the C libraries behind OpenCV and Pillow print while they decode: libjpeg reports damage in no other way."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# What lines of libjpeg, libpng, libtiff and OpenCV's log begin with; anything else was written by somebody else.
_DECODERS = re.compile(
    rb"Corrupt JPEG|Premature end of JPEG|Invalid SOS|Inconsistent progression|Unknown Adobe|Warning: unknown JFIF|"
    rb"Unsupported marker|libpng |tempfile\.tif: |JPEGLib: |_?TIFF\w*: |\w*(?:Decode|Setup)\w*: |"
    rb"\[ *(?:WARN|ERROR|INFO|DEBUG|FATAL):[^]]*\] global (?:grfmt|loadsave|exif|bitstrm)"
)


class _Listener:
    """Redirects file descriptor 2 while at least one thread decodes.

    The redirection is that of the whole process, so that what two threads decode at the same time cannot be told apart:
    where a message came up meanwhile, the decoding is repeated alone. Lines of others are handed on to the terminal.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition(threading.Lock())
        self._inside = 0
        self._alone = False  # one thread decodes without others, or waits until they have finished
        self._crowded = False
        self._terminal = self._sink = -1

    def listen(self, call: Callable[[], Result]) -> tuple[Result, list[str]]:
        """Returns what `call` returns and the lines that decoders printed during it."""
        result, lines, certain = self._run(call, alone=False)
        if lines and not certain:
            result, lines, _ = self._run(call, alone=True)
        return result, lines

    def after_fork(self) -> None:
        """Gives a forked process its terminal back: the threads that would do so are not copied."""
        if self._terminal >= 0:
            os.dup2(self._terminal, 2)
        self.__init__()  # type: ignore[misc]

    def _run(self, call: Callable[[], Result], alone: bool) -> tuple[Result, list[str], bool]:
        with self._turn:
            while self._alone:
                self._turn.wait()
            if alone:
                self._alone = True
                while self._inside:
                    self._turn.wait()
            if not self._inside:
                self._redirect()
                self._crowded = False
            self._inside += 1
            self._crowded |= self._inside > 1
            start = self._written()
        try:
            result = call()
        finally:
            with self._turn:
                lines = self._lines(start)
                certain = not self._crowded
                self._inside -= 1
                if not self._inside:
                    self._restore()
                if self._alone:
                    self._alone = not alone
                    self._turn.notify_all()
        return result, [line.decode("utf-8", "replace").strip() for line in lines if _DECODERS.match(line)], certain

    def _redirect(self) -> None:
        try:
            if self._sink < 0:
                with tempfile.TemporaryFile() as file:
                    self._sink = os.dup(file.fileno())
            self._terminal = os.dup(2)
            os.dup2(self._sink, 2)
        except OSError:  # no room for a temporary file, or no stderr: the decoders print as they like
            self._terminal = -1

    def _restore(self) -> None:
        if self._terminal < 0:
            return
        lines = self._lines(0)
        os.dup2(self._terminal, 2)
        os.close(self._terminal)
        self._terminal = -1
        if lines:
            os.ftruncate(self._sink, 0)
            os.lseek(self._sink, 0, os.SEEK_SET)
            for line in lines:
                if line.strip() and not _DECODERS.match(line):
                    os.write(2, line)

    def _written(self) -> int:
        # The descriptor shares its position with the redirected one.
        return os.lseek(self._sink, 0, os.SEEK_CUR) if self._terminal >= 0 else 0

    def _lines(self, start: int) -> list[bytes]:
        end = self._written()
        return os.pread(self._sink, end - start, start).splitlines(keepends=True) if end > start else []


_listener = _Listener()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_listener.after_fork)


def decoder_messages(call: Callable[[], Result]) -> tuple[Result, list[str]]:
    """Runs a decoder with its chatter caught; safe in several threads and in forked workers.

    Args:
        call: Decodes a picture. It runs twice where it reports something while other threads decode too.

    Returns:
        What `call` returned, and the lines that it printed.
    """
    return _listener.listen(call)
