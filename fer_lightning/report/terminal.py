"""Names of files, classes and runs in the terminal, where they are text and nothing else."""

from __future__ import annotations

import re

from rich.console import Console

from fer_lightning.errors import printable

_NOTHING = "[none][/none]"


def escape(name: object) -> str:
    """A name as a cell or a title of Rich: no markup, emoji code, control character or line break of its own acts."""
    # Rich's own escape leaves or doubles backslashes before a bracket that begins no tag, and at the end.
    text = re.sub(r"(\\*)(\[|$)", lambda found: _escaped(*found.groups()), printable(name))
    # Between tags, Rich looks for codes such as :smile: in each piece of text alone.
    return re.sub(r":(?=\S+:)", f":{_NOTHING}", text)


def _escaped(backslashes: str, bracket: str) -> str:
    return (2 * backslashes + _NOTHING if backslashes else "") + bracket.replace("[", "\\[")


def print_line(console: Console, line: object) -> None:
    """Prints a line as it is, so that paths and commands in it can be copied.

    Args:
        console: Where to print.
        line: Text; names in it need no escaping.
    """
    console.print(printable(line), soft_wrap=True, markup=False, emoji=False, highlight=False)
