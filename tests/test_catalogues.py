"""The `__init__.py` of every room lists what the room offers, and imports none of it before it is asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fer_lightning

PACKAGE = Path(fer_lightning.__file__).parent
ROOMS = sorted(".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py"))
NO_EXPORTS = {"fer_lightning.commands", "fer_lightning.benchmark.drivers"}
CATALOGUES = [room for room in ROOMS if room not in NO_EXPORTS]


@pytest.mark.parametrize("room", CATALOGUES)
def test_what_is_listed_is_there_and_documented(room):
    module = import_module(room)
    lines = re.findall(r"^- (`.+`): \S", str(module.__doc__), re.MULTILINE)
    listed = re.findall(r"\w+", " ".join(lines))
    assert sorted(listed) == sorted(module.__all__)
    for name in listed:
        value = getattr(module, name)
        assert value.__module__.startswith(f"{room}."), name
        assert value.__doc__, name


def test_every_room_says_what_it_holds():
    assert len(CATALOGUES) >= 15
    assert all(import_module(room).__doc__ for room in ROOMS)


def test_unknown_names_are_refused():
    with pytest.raises(ImportError, match="cannot import name 'HAFEN'"):
        from fer_lightning.models import HAFEN  # noqa: F401


def test_a_room_imports_nothing_before_it_is_asked():
    heavy = ("torch", "pytorch_lightning", "numpy", "pandas", "albumentations", "matplotlib", "optuna")
    code = f"import sys, {', '.join(ROOMS)}; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert printed.stdout == "[]\n", printed.stderr
