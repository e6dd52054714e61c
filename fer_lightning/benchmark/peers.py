"""Other packages that go from a frame to a label, and the processes in which programs are timed.

Each program is a process of its own, asked by one JSON line and answering by another.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from fer_lightning.errors import UserError

DRIVERS = Path(__file__).parent / "drivers"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
PYTHON_INSTALL = (
    "python3 -m venv peers && peers/bin/pip install 'setuptools<80' tensorflow-cpu 'opencv-python-headless<5' pandas "
    "requests matplotlib tqdm pillow && peers/bin/pip install --no-deps fer==25.10.3, then peer_python=peers/bin/python"
)
NODE_INSTALL = (
    "npm install --prefix peers @vladmandic/face-api@1.7.15 @vladmandic/human@3.3.6 @tensorflow/tfjs "
    "@tensorflow/tfjs-backend-wasm, then peer_node_modules=peers/node_modules"
)


class DriverError(Exception):
    """A program that is timed does not start, fails, or does not answer; says why in half a sentence."""


class Driver:
    """A running program; the protocol is that of `drivers/serving.py`.

    Args:
        command: Program and arguments.
        threads: It gets as many threads, and as many cores to run them and all else on (where the system can say so).
        limit: Seconds within which each answer must come.

    Raises:
        DriverError: The program is not there.
    """

    def __init__(self, command: Sequence[str], threads: int, limit: float = 300.0):
        self.limit = limit
        self.told = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - open as long as the program
        variables = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            with _cores(threads):
                self.process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self.told,
                    text=True,
                    env=variables,
                )
        except OSError as error:
            self.told.close()
            raise DriverError(f"{command[0]} cannot be started ({error.strerror})") from None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            DriverError: It answered with an error, something that is no JSON, nothing in time, or nothing at all.
        """
        timer = Timer(self.limit, self.process.kill)
        timer.start()
        try:
            assert self.process.stdin and self.process.stdout
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if not line:
            raise DriverError(f"no answer within {self.limit:.0f} seconds" if late else self._last_words())
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            raise DriverError(f"it answered {line.strip()!r}") from None
        if "error" in answer:
            raise DriverError(" ".join(answer["error"].split()))
        return answer

    def peak_memory(self) -> float | None:
        """Most memory that the process has held so far, in MB (10^6 bytes); None where the system does not tell."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.is_file():
            return None
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        return None

    def close(self) -> None:
        """Ends the program."""
        self.process.kill()
        self.process.communicate()
        self.told.close()

    def _last_words(self) -> str:
        self.process.wait()
        self.told.seek(0)
        lines = [line.strip() for line in self.told if line.strip()]
        return f"it ended with status {self.process.returncode}" + (f": {lines[-1]}" if lines else "")


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """What is started in this block runs on the last `count` cores of those that this process may use."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@dataclass(frozen=True)
class Peer:
    """A package, with some of its settings.

    Attributes:
        program: File of `drivers` that times it; its ending decides what runs it.
        setting: Last argument of the program; none where it takes no setting.
    """

    program: str
    setting: tuple[str, ...] = ()

    def command(self, python: Path | None, node_modules: Path | None) -> list[str] | None:
        """How to start it; None where what runs it is not named.

        Args:
            python: Interpreter of the environment that has `fer`.
            node_modules: Folder that has the packages of Node.
        """
        if self.in_node:
            return ["node", str(DRIVERS / self.program), str(node_modules), *self.setting] if node_modules else None
        return [str(python), str(DRIVERS / self.program), *self.setting] if python else None

    @property
    def in_node(self) -> bool:
        """Whether it runs in Node, else in Python."""
        return self.program.endswith(".mjs")

    @property
    def install(self) -> str:
        """What to type to have it."""
        return NODE_INSTALL if self.in_node else PYTHON_INSTALL


# face-api recommends inputs of "smaller sizes, e.g. 128, 160" for webcams, and has a default of 416.
PEERS = {
    "fer": Peer("fer_package.py"),
    "face_api": Peer("face_api.mjs", ("128",)),
    "face_api_160": Peer("face_api.mjs", ("160",)),
    "face_api_416": Peer("face_api.mjs", ("416",)),
    "human": Peer("human.mjs"),
}


def peer_commands(
    names: Iterable[str], python: Path | None, node_modules: Path | None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """How to start the packages of `PEERS` that are named, and why others of them cannot be; see `Peer.command`.

    Raises:
        UserError: A name is unknown.
    """
    commands, left_out = {}, {}
    for name in names:
        if name not in PEERS:
            raise UserError(f"peers has {name}, which is unknown: use any of {', '.join(PEERS)}.")
        if command := PEERS[name].command(python, node_modules):
            commands[name] = command
        else:
            left_out[name] = f"install it with {PEERS[name].install}"
    return commands, left_out
