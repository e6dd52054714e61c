"""Other packages that go from a frame to a label, each in an environment of its own: which, and how to start them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_lightning.benchmark.peers import DRIVERS

PYTHON_INSTALL = (
    "python3 -m venv peers && peers/bin/pip install 'setuptools<80' tensorflow-cpu 'opencv-python-headless<5' pandas "
    "requests matplotlib tqdm pillow && peers/bin/pip install --no-deps fer==25.10.3, then peer_python=peers/bin/python"
)
NODE_INSTALL = (
    "npm install --prefix peers @vladmandic/face-api@1.7.15 @vladmandic/human@3.3.6 @tensorflow/tfjs "
    "@tensorflow/tfjs-backend-wasm, then peer_node_modules=peers/node_modules"
)


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
