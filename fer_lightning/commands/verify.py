"""`fer verify`: whether files are the networks that were exported, by hashes and a face with known probabilities."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer_lightning.errors import UserError, printable
from fer_lightning.inference.classifier import FaceClassifier, open_file
from fer_lightning.training.safetensors_weights import WEIGHTS, find_checkpoint, read_header, shipped_nets

_EXAMPLES = """examples:
  fer verify                          the networks that ship with the package
  fer verify ferplus model.onnx       one of them, and a file of fer export
  fer verify hf:user/name             a network on the Hugging Face hub

Checks: the SHA-256 is that of SHA256SUMS in the package, of the hub, or of export.json beside the file; the file opens;
and it gives the probabilities that fer export stored for a synthetic face. A hash tells whether a file changed, not who
made it. The exit status is 0 if no check failed, otherwise 1.
"""
SUMS = WEIGHTS / "SHA256SUMS"
# Largest difference of a probability. Integers are rounded and saturate in another way on another processor.
TOLERANCES = {"float32": 1e-3, "int8": 0.05}
Check = tuple[str, str]  # "ok", "note" or "FAILED", and a sentence


def main(argv: Sequence[str]) -> None:
    """Verifies files of networks, and exits with status 1 if a check fails.

    Raises:
        UserError: A file does not exist.
    """
    parser = argparse.ArgumentParser(
        prog="fer verify",
        description="Checks files of networks, one line each.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "net", nargs="*", metavar="NET", help="a file, a network that ships with the package, or hf:user/name"
    )
    sources = parser.parse_args(argv).net or shipped_nets()
    files = [path for source in sources for path in files_of(source)]
    failed = False
    for path in files:
        print(printable(path))
        for outcome, sentence in checks(path):
            failed = failed or outcome == "FAILED"
            print(f"  {outcome:<6} {printable(sentence)}")
    sys.exit(int(failed))


def files_of(source: str) -> list[Path]:
    """Files of a network: both of one that ships, the weights and the graph that refers to them; otherwise one."""
    path = Path(source).expanduser()
    if not path.is_file():
        path = find_checkpoint(source, "NET")
    return [path, path.with_suffix(".onnx")] if path.parent == WEIGHTS and path.suffix == ".safetensors" else [path]


def checks(path: Path) -> Iterator[Check]:
    """Yields the results of all checks of a file."""
    yield _check_hash(path)
    if path.suffix == ".pte":
        yield "note", "not opened: only ExecuTorch's runtime reads it"
        return
    if path.suffix != ".onnx" and find_spec("torch") is None:
        yield "note", "not opened: this needs PyTorch, pip install 'fer_lightning[train]'"
        return
    try:
        classifier = open_file(path, source="")
        size, classes = classifier.preprocessing["image_size"], len(classifier.classes)
        yield "ok", f"opens: {classifier.card['model']}, {classes} classes, {size} x {size} pixels"
        yield _run_self_test(path, classifier)
    except UserError as error:
        yield "FAILED", str(error)


def _check_hash(path: Path) -> Check:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = dict(_published(path))
    for origin, published in expected.items():
        if published != digest:
            return "FAILED", f"SHA-256 {digest} is not that of {origin}, {published}"
    if not expected:
        return "note", f"SHA-256 {digest}: nothing to compare it with; fer export writes export.json beside its files"
    return "ok", f"SHA-256 {digest}, as in {' and '.join(expected)}"


def _published(path: Path) -> Iterator[tuple[str, str]]:
    """Names of what has the hash of a file, and the hash."""
    if path.parent == WEIGHTS:
        lines = map(str.split, SUMS.read_text().splitlines())
        yield SUMS.name, {name: digest for digest, name in lines}.get(path.name, "missing")
    elif path.absolute().parents[1].name == "snapshots" and re.fullmatch("[0-9a-f]{64}", path.resolve().name):
        yield "the Hugging Face hub", path.resolve().name  # its cache names large files so
    for record in (path.with_name("export.json"), path.with_suffix(".json")):
        with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            content = json.loads(record.read_text(encoding="utf-8"))
            yield record.name, str(content.get("export", content)["sha256"][path.name])


def _run_self_test(path: Path, classifier: FaceClassifier) -> Check:
    size, channels = (classifier.preprocessing[name] for name in ("image_size", "channels"))
    try:
        if (test := _self_test_of(path, classifier)) is None:
            return (
                "note",
                "the file has no self-test: fer export stores one now, unless a network has an auxiliary input",
            )
        with Image.open(BytesIO(base64.b64decode(test["picture"], validate=True)), formats=["PNG"]) as picture:
            if picture.size != (size, size):  # before it is decoded
                raise ValueError
            face = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(1, size, size, channels)
        expected = np.asarray(test["probabilities"], np.float64)
        if expected.shape != (len(classifier.classes),):
            raise ValueError
    except Exception:  # for values of unknown origin, the libraries may raise anything
        return "FAILED", "the self-test in the file is damaged"
    difference = float(np.abs(classifier.probabilities(face)[0] - expected).max())
    most = TOLERANCES[classifier.precision]
    label = classifier.classes[int(expected.argmax())]
    if not difference <= most:
        return (
            "FAILED",
            f"self-test: a probability differs by {difference:.2g} from the exported network's, at most {most:g}",
        )
    return "ok", f"self-test: {label} {expected.max():.1%}, no probability differs by more than {difference:.1g}"


def _self_test_of(path: Path, classifier: Any) -> Mapping[str, Any] | None:
    if path.suffix == ".onnx":
        return json.loads(classifier.session.get_modelmeta().custom_metadata_map.get("self_test", "null"))
    return read_header(path).get("self_test") if path.suffix == ".safetensors" else None
