"""Real processes throughout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fer_lightning.benchmark.peers import DRIVERS, PEERS, Driver, DriverError
from fer_lightning.benchmark.pipeline import HEIGHT, WIDTH, write_frames

PYTHON_PEER = """
import os, sys, time
import numpy as np
from serving import Timed, serve

def load(threads):
    print("packages like to talk")
    def look(frame):
        assert frame.shape == (480, 640, 3) and frame.dtype == np.uint8
        time.sleep(0.002)
        return ["happy", None][frame[0, 0, 0]]
    return Timed("peer", "1.2", f"{threads} threads", look, stages=lambda frame: {"detect": 1.5})

serve(load)
"""
NODE_PEER = """
import { serve } from '%s';
console.log('packages like to talk');
await serve(async ({ threads }) => ({
  name: 'peer', version: '1.2', settings: `${threads} threads`,
  look: async (bytes, width, height) => {
    if (bytes.length !== 3 * width * height) throw new Error('size');
    const end = performance.now() + 2;
    while (performance.now() < end);
    return ['happy', null][bytes[0]];
  },
}));
"""


def in_python(folder: Path) -> list[str]:
    program = folder / "peer.py"
    program.write_text(f"import sys\nsys.path.insert(0, {str(DRIVERS)!r})\n{PYTHON_PEER}")
    return [sys.executable, str(program)]


def in_node(folder: Path) -> list[str]:
    if not shutil.which("node"):
        pytest.skip("needs Node")
    program = folder / "peer.mjs"
    program.write_text(NODE_PEER % (DRIVERS / "serving.mjs").as_posix())
    return ["node", str(program)]


@pytest.fixture
def request_frames(tmp_path: Path) -> dict[str, object]:
    """Two frames whose first byte is 0 and 1: a face, and none."""
    frames = [np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in (0, 1)]
    paths = [str(path) for path in write_frames(frames, tmp_path)]
    return {"frames": paths, "width": WIDTH, "height": HEIGHT, "threads": 1}


@pytest.mark.parametrize("command", [in_python, in_node], ids=["python", "node"])
def test_both_languages_speak_the_same_protocol(command, tmp_path, request_frames):
    with closing(Driver(command(tmp_path), threads=1)) as driver:
        assert driver.ask(request_frames) == {"name": "peer", "version": "1.2", "settings": "1 threads"}
        answer = driver.ask({"repeats": 5})
        assert answer["labels"] == ["happy", None, "happy", None, "happy"]
        whole, cpu = answer["milliseconds"]["whole"], answer["milliseconds"]["cpu"]
        assert len(whole) == len(cpu) == 5 and min(whole) >= 1.9
        assert command is in_node or answer["milliseconds"]["detect"] == [1.5] * 5
        assert command is in_python or np.median(cpu) > 1  # one waits, the other computes
        assert len(driver.ask({"repeats": 2})["labels"]) == 2
        if sys.platform == "linux":
            assert driver.peak_memory() > 10
    assert driver.process.poll() is not None


@pytest.fixture
def program(tmp_path: Path) -> Iterator[object]:
    opened = []

    def start(text: str, limit: float = 60) -> Driver:
        path = tmp_path / "program.py"
        path.write_text(text)
        opened.append(Driver([sys.executable, str(path)], threads=1, limit=limit))
        return opened[-1]

    yield start
    for driver in opened:
        driver.close()


def test_an_error_is_passed_on_and_ends_nothing(tmp_path, request_frames):
    with closing(Driver(in_python(tmp_path), threads=1)) as driver:
        with pytest.raises(DriverError, match="AssertionError: frames come first"):
            driver.ask({"repeats": 1})
        with pytest.raises(DriverError, match=r"FileNotFoundError.*nowhere\.rgb"):
            driver.ask({**request_frames, "frames": ["nowhere.rgb"]})
        assert driver.ask(request_frames)["name"] == "peer"


def test_a_program_that_is_not_there():
    with pytest.raises(DriverError, match=r"no-such-python cannot be started \(No such file"):
        Driver(["no-such-python"], threads=1)


def test_a_program_that_ends_tells_its_last_line(program):
    driver = program("import sys; sys.exit('cannot find libfoo')")
    with pytest.raises(DriverError, match="it ended with status 1: cannot find libfoo"):
        driver.ask({"repeats": 1})


def test_a_program_that_hangs_is_ended(program):
    driver = program("import time; time.sleep(60)", limit=1)
    with pytest.raises(DriverError, match="no answer within 1 seconds"):
        driver.ask({"repeats": 1})


def test_an_answer_that_is_no_json(program):
    with pytest.raises(DriverError, match="it answered 'hello'"):
        program("input(); print('hello')").ask({"repeats": 1})


SHOW_CORES = """
import json, os
input()
print(json.dumps({"cores": sorted(os.sched_getaffinity(0)), "threads": os.environ["OMP_NUM_THREADS"]}))
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_a_program_gets_as_many_cores_as_threads(program):
    before = os.sched_getaffinity(0)
    answer = program(SHOW_CORES).ask({})
    assert answer == {"cores": sorted(before)[-1:], "threads": "1"}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("name", PEERS)
def test_programs_ship_and_start_with_what_runs_them(name):
    peer = PEERS[name]
    command = peer.command(Path("peers/bin/python"), Path("peers/node_modules"))
    assert (DRIVERS / peer.program).is_file() and command is not None and command[1] == str(DRIVERS / peer.program)
    assert command[0] == ("node" if peer.in_node else "peers/bin/python")
    only_node, only_python = peer.command(None, Path("modules")), peer.command(Path("python"), None)
    assert (only_node is None, only_python is None) == (not peer.in_node, peer.in_node)
    assert ("npm install" in peer.install) == peer.in_node == ("peer_node_modules=" in peer.install)


@pytest.mark.parametrize("path", sorted(DRIVERS.glob("*.mjs")), ids=lambda path: path.name)
def test_programs_for_node_are_javascript(path):
    if not shutil.which("node"):
        pytest.skip("needs Node")
    assert subprocess.run(["node", "--check", str(path)], capture_output=True, text=True).stderr == ""


class FakeFER:
    """As `fer.FER` answers: two faces where the frame is bright, none where it is dark; wants BGR."""

    def detect_emotions(self, frame: np.ndarray) -> list[dict[str, object]]:
        assert frame.flags.c_contiguous
        small = {"box": (0, 0, 9, 9), "emotions": {"angry": 0.9, "happy": 0.1}}
        large = {"box": (0, 0, 50, 50), "emotions": {"angry": 0.2, "happy": 0.8}}
        return [small, large] if frame[0, 0, 2] == 255 else []  # red comes last


def test_the_label_of_fer_is_that_of_the_largest_face(monkeypatch):
    package = type(sys)("fer")
    package.fer = type(sys)("fer.fer")
    package.fer.FER = FakeFER
    monkeypatch.setitem(sys.modules, "fer", package)
    monkeypatch.setitem(sys.modules, "fer.fer", package.fer)
    monkeypatch.syspath_prepend(str(DRIVERS))
    spec = importlib.util.spec_from_file_location("fer_package", DRIVERS / "fer_package.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(program, "version", lambda name: f"{name} 1")
    timed = program.load(1)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert timed.look(timed.prepare(red)) == "happy" and timed.look(timed.prepare(red[..., ::-1])) is None
    assert timed.version == "fer 1"
