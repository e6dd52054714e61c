from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_lightning.benchmark.peers import DRIVERS
from fer_lightning.deploy.benchmark.peers import PEERS


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
