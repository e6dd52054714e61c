"""The one exception that reaches the user as a sentence instead of a traceback, and how names are shown in it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

# Control characters (newlines, ANSI sequences), marks that turn the direction of what follows, and the surrogates by
# which Python keeps the bytes of a file name that is not UTF-8: they would act on a terminal, or cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""A name as it can be shown anywhere: on one line, in UTF-8, with nothing that a terminal obeys.

    Args:
        text: A file name, a label, or a sentence that holds some.

    Returns:
        The text with `\n`, `\x1b`, `\xff` and the like in place of such characters.
    """
    return _UNPRINTABLE.sub(_escaped, str(text))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    # A byte of a file name, see PEP 383.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else found[0].encode("unicode_escape").decode()


class PrintableFormatter(logging.Formatter):
    """Log lines of one line each, whatever the names in them hold; a traceback keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # the name is logging's
        return printable(super().formatMessage(record))


class UserError(Exception):
    """A mistake the user can mend.

    The message is one sentence naming the file or option, what was expected and what to do. The command line prints it
    alone and exits with status 2.

    Args:
        lines: The sentence; where several things went wrong, one line for each. Names in them are made `printable`.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def require_known(option: str, value: object, known: Iterable[str]) -> None:
    """Refuses a value that is none of the known ones.

    Raises:
        UserError: It names the option and the known values.
    """
    if value not in (known := tuple(known)):
        raise UserError(f"{option}={value} is unknown: use one of {', '.join(known)}.")


def problem_of(error: ValidationError) -> str:
    """The first problem that pydantic found, on one line: where, what must hold and what was found."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    told = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if first["type"] == "missing":
        return f"{place[:200]} is missing."
    found = repr(first["input"])
    shown = found if len(found) <= 60 else f"{found[:57]}..."
    return " ".join(f"{place[:200]} {told[:300]}; got {shown}.".split())
