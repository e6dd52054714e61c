"""Other packages that predict a label from a frame, and the processes in which programs are timed.

Each program runs in its own process and answers each JSON line on stdin with a JSON line on stdout.
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

from fer_lightning.errors import require_known

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
    """A timed program does not start, fails, or does not answer. The message is a clause with the reason."""


class Driver:
    """A running program with the protocol of `drivers/serving.py`.

    Args:
        command: Program and arguments.
        threads: Number of its threads, and of the cores to which it is limited where the system supports that.
        limit: Timeout of each answer in seconds.

    Raises:
        DriverError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str], threads: int, limit: float = 300.0):
        self.limit = limit
        self.stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - open as long as the program runs
        variables = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            with _cores(threads):
                self.process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self.stderr,
                    text=True,
                    env=variables,
                )
        except OSError as error:
            self.stderr.close()
            raise DriverError(f"{command[0]} cannot be started ({error.strerror})") from None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            DriverError: The answer is an error or not JSON, is late, or does not come.
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
            raise DriverError(f"no answer within {self.limit:.0f} seconds" if late else self._end())
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            raise DriverError(f"it answered {line.strip()!r}") from None
        if "error" in answer:
            raise DriverError(" ".join(answer["error"].split()))
        return answer

    def peak_memory(self) -> float | None:
        """Peak memory of the process in MB (10^6 bytes); None where the system does not report it."""
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
        self.stderr.close()

    def _end(self) -> str:
        self.process.wait()
        self.stderr.seek(0)
        lines = [line.strip() for line in self.stderr if line.strip()]
        return f"it ended with status {self.process.returncode}" + (f": {lines[-1]}" if lines else "")


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """Context in which processes start on the last `count` of the cores that this process may use."""
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
    """Another package with some of its settings.

    Attributes:
        program: File of `drivers` that times it; the suffix selects the interpreter.
        setting: Last argument of the program, or none.
    """

    program: str
    setting: tuple[str, ...] = ()

    def command(self, python: Path | None, node_modules: Path | None) -> list[str] | None:
        """Command that starts it; None without the path of its interpreter or packages.

        Args:
            python: Interpreter of the environment with `fer`.
            node_modules: Folder of the Node packages.
        """
        if self.in_node:
            return ["node", str(DRIVERS / self.program), str(node_modules), *self.setting] if node_modules else None
        return [str(python), str(DRIVERS / self.program), *self.setting] if python else None

    @property
    def in_node(self) -> bool:
        """Whether it runs in Node instead of Python."""
        return self.program.endswith(".mjs")

    @property
    def install(self) -> str:
        """Commands that install it."""
        return NODE_INSTALL if self.in_node else PYTHON_INSTALL


# face-api recommends inputs of "smaller sizes, e.g. 128, 160" for webcams; its default is 416.
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
    """Commands of some `PEERS`, and the reason why others of them cannot be started; see `Peer.command`.

    Raises:
        UserError: A name is unknown.
    """
    commands, left_out = {}, {}
    for name in names:
        require_known("peers", name, PEERS)
        if command := PEERS[name].command(python, node_modules):
            commands[name] = command
        else:
            left_out[name] = f"install it with {PEERS[name].install}"
    return commands, left_out
