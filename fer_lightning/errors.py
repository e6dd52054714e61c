"""`UserError`, which the command line prints without a traceback, and the printable form of names in messages."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

# Control characters (newlines, ANSI sequences), marks that change the direction of the text, and the surrogates with
# which Python represents file names that are not UTF-8: a terminal would interpret them, or they cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""Text on one line, in UTF-8, with `\n`, `\x1b`, `\xff` and the like for characters that a terminal interprets."""
    return _UNPRINTABLE.sub(_escaped, str(text))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    # A byte of a file name, see PEP 383.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else found[0].encode("unicode_escape").decode()


class PrintableFormatter(logging.Formatter):
    """Formats each log message on one line; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # the name is logging's
        return printable(super().formatMessage(record))


class UserError(Exception):
    """Error that the user can correct.

    The message is one sentence: the file or option, what must hold, and what to do. The command line prints it without
    a traceback and exits with status 2.

    Args:
        lines: The message, one line for each error; they are made `printable`.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def require_known(option: str, value: object, known: Iterable[str]) -> None:
    """Raises an error for an unknown value of an option.

    Raises:
        UserError: The value is unknown; the message lists the known ones.
    """
    if value not in (known := tuple(known)):
        raise UserError(f"{option}={value} is unknown: use one of {', '.join(known)}.")


def problem_of(error: ValidationError) -> str:
    """First error of pydantic on one line: place, condition and value."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    condition = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if first["type"] == "missing":
        return f"{place[:200]} is missing."
    value = repr(first["input"])
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    return " ".join(f"{place[:200]} {condition[:300]}; got {shown}.".split())
