"""The loop of every program that is timed: one JSON request a line on stdin, one JSON answer a line on stdout.

Runs in the Python of other packages too, so it imports nothing of this project. Requests and answers, in order:

- `{"frames": [path, ...], "width": W, "height": H, "threads": n}`: raw RGB bytes, `H * W * 3` each. Loads everything
  and answers `{"name": ..., "version": ..., "settings": ...}`.
- `{"repeats": n}`: looks at n frames, taking turns, and answers `{"milliseconds": {"whole": [...], "cpu": [...], ...},
  "labels": [...]}`, one entry a frame; a label is null where no face was found. `whole` is the time that passed from
  the frame to the label, `cpu` what the process computed meanwhile, on all cores together.
- Whatever fails is answered with `{"error": ...}`. The end of stdin ends the program.
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
    """What is timed.

    Attributes:
        name: Of the package.
        version: Of the package.
        settings: In words.
        look: From a frame, uint8 RGB `(H, W, 3)`, to the label of its largest face, or None.
        prepare: Turns the frame into what `look` takes, untimed: a package may want another order of the channels.
        stages: From a frame to the milliseconds of its parts, by their names.
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
        load: Takes the number of threads.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print must not get between the answers
    program = Program(load)
    for line in sys.stdin:
        try:
            answer = program.answer(json.loads(line))
        except BaseException as error:  # some packages exit where an import fails
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class Program:
    """What is timed, and the frames it is shown.

    Args:
        load: Takes the number of threads.
    """

    def __init__(self, load: Callable[[int], Timed]):
        self.load = load
        self.timed: Timed | None = None
        self.frames: list[np.ndarray] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """See the top of this file."""
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
