from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_lightning.data.native_messages import decoder_messages


@pytest.fixture(scope="module")
def jpegs() -> tuple[bytes, bytes]:
    """A whole file and one that ends early behind a marker that says it does not."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    whole = buffer.getvalue()
    return whole, whole[: len(whole) // 2] + b"\xff\xd9"


def decode(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_ANYCOLOR)


def test_messages_are_those_of_the_call(jpegs, capfd):
    whole, damaged = jpegs
    image, lines = decoder_messages(lambda: decode(damaged))
    assert image.shape == (64, 64, 3) and lines == ["Corrupt JPEG data: premature end of data segment"]
    assert decoder_messages(lambda: decode(whole))[1] == []
    assert capfd.readouterr().err == ""


def test_threads_do_not_blame_each_other(jpegs, capfd):
    turns = np.random.default_rng(1).integers(0, 2, 400)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda turn: len(decoder_messages(lambda: decode(jpegs[turn]))[1]), turns))
    assert found == turns.tolist()
    assert capfd.readouterr().err == ""


def test_lines_of_others_reach_the_terminal(jpegs, capfd):
    def call() -> None:
        os.write(2, b"a warning of the program\n")
        decode(jpegs[1])

    assert len(decoder_messages(call)[1]) == 1
    assert capfd.readouterr().err == "a warning of the program\n"


def test_an_error_gives_the_terminal_back(capfd):
    with pytest.raises(ZeroDivisionError):
        decoder_messages(lambda: 1 / 0)
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_without_stderr_it_decodes_all_the_same():
    code = (
        "import os; os.close(2)\n"
        "from fer_lightning.data.native_messages import decoder_messages\n"
        "print(decoder_messages(lambda: 7))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"(7, [])\n"
