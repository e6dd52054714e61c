"""Records what commands print in a terminal, as an SVG picture.

    pip install pyte rich
    python docs/terminal/record.py OUT.svg 'first command' 'second command'

Each command runs in bash in a terminal of its own, so that progress bars and colours are those a user sees; the picture
shows the terminal as the commands left it, with everything that scrolled away.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import pty
import struct
import sys
import termios
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROWS = 50


def run(command: str, columns: int) -> bytes:
    """Bytes that a command writes to a terminal.

    Raises:
        SystemExit: The command failed.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES=str(ROWS))
        os.execvp("bash", ["bash", "-c", command])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    chunks = []
    while chunk := _read(terminal):
        chunks.append(chunk)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        sys.exit(f"{command!r} ended with {code}:\n{b''.join(chunks).decode(errors='replace')}")
    return b"".join(chunks)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError as error:  # Linux reports the end of a child's terminal as an error of input
        if error.errno == errno.EIO:
            return b""
        raise


def screen_lines(screen: pyte.HistoryScreen) -> list[Text]:
    """Lines of a terminal from the first that scrolled away to the last that is not empty, with their styles."""
    rows = [*screen.history.top, *(screen.buffer[row] for row in range(screen.lines))]
    lines = []
    for row in rows:
        line = Text()
        cells = (row[column] for column in range(screen.columns))
        for (colour, bold, italic), alike in groupby(cells, lambda cell: (cell.fg, cell.bold, cell.italics)):
            line.append("".join(cell.data for cell in alike), Style(color=_colour(colour), bold=bold, italic=italic))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    names = {"brown": "yellow", "brightbrown": "bright_yellow"}
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    return names.get(name, name.replace("bright", "bright_"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="SVG file to write")
    parser.add_argument("commands", nargs="+", help="commands, one after the other")
    parser.add_argument("--columns", type=int, default=110, help="width of the terminal (110)")
    parser.add_argument("--title", default="fer_lightning", help="title of the window")
    options = parser.parse_args()
    console = Console(record=True, width=options.columns, file=StringIO())
    for command in options.commands:
        screen = pyte.HistoryScreen(options.columns, ROWS, history=100_000, ratio=1.0)
        pyte.ByteStream(screen).feed(run(command, options.columns))
        console.print(Text("$ ", "bold green") + Text(command, "bold"), overflow="fold")
        for line in screen_lines(screen):
            console.print(line, soft_wrap=True)
        console.print()
    console.save_svg(str(options.out), title=options.title)


if __name__ == "__main__":
    main()
