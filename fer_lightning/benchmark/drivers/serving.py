"""Request loop of every timed program: one JSON request per line on stdin, one JSON answer per line on stdout.

It also runs in the environments of other packages, so it imports nothing of this project. Requests and answers:

- `{"frames": [path, ...], "width": W, "height": H, "threads": n}`: raw RGB bytes, `H * W * 3` each. Loads everything
  and answers `{"name": ..., "version": ..., "settings": ...}`.
- `{"repeats": n}`: processes n frames in turn and answers `{"milliseconds": {"whole": [...], "cpu": [...], ...},
  "labels": [...]}`, one entry per frame; a label is null without a face. `whole` is the elapsed time from the frame to
  the label, `cpu` the processor time of the process meanwhile, summed over cores.
- A failed request is answered with `{"error": ...}`. The program ends with stdin.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timed:
    """A package that is timed.

    Attributes:
        name: Name of the package.
        version: Version of the package.
        settings: Description of its settings.
        look: Function of a frame, uint8 RGB `(H, W, 3)`, that returns the label of its largest face, or None.
        prepare: Untimed conversion of a frame for `look`, for example to another order of the channels.
        stages: Function of a frame that returns the milliseconds of each of its stages.
    """

    name: str
    version: str
    settings: str
    look: Callable[[np.ndarray], str | None]
    prepare: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray
    stages: Callable[[np.ndarray], dict[str, float]] = lambda frame: {}


def serve(load: Callable[[int], Timed]) -> None:
    """Answers requests until stdin ends.

    Args:
        load: Function of the number of threads that loads the package.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # packages may print, which must not mix with the answers
    program = Program(load)
    for line in sys.stdin:
        try:
            answer = program.answer(json.loads(line))
        except BaseException as error:  # some packages exit where an import fails
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class Program:
    """A package that is timed, and its frames.

    Args:
        load: Function of the number of threads that loads the package.
    """

    def __init__(self, load: Callable[[int], Timed]):
        self.load = load
        self.timed: Timed | None = None
        self.frames: list[np.ndarray] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer to a request, see the docstring of the module."""
        if "frames" in request:
            self.timed = self.load(request["threads"])
            shape = (request["height"], request["width"], 3)
            self.frames = [self.timed.prepare(np.fromfile(path, np.uint8).reshape(shape)) for path in request["frames"]]
            return {name: getattr(self.timed, name) for name in ("name", "version", "settings")}
        assert self.timed is not None, "frames come first"
        milliseconds: dict[str, list[float]] = defaultdict(list)
        labels = []
        for number in range(request["repeats"]):
            frame = self.frames[number % len(self.frames)]
            used, started = process_time(), perf_counter()
            labels.append(self.timed.look(frame))
            milliseconds["whole"].append(1000 * (perf_counter() - started))
            milliseconds["cpu"].append(1000 * (process_time() - used))
            for name, value in self.timed.stages(frame).items():
                milliseconds[name].append(value)
        return {"milliseconds": milliseconds, "labels": labels}
