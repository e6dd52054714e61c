"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import fer_lightning

PACKAGE = Path(fer_lightning.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_examples_print_what_they_say(module, trees, tmp_path, monkeypatch, write_record):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(trees)
    if module.endswith(".significance"):
        for number, (name, share) in enumerate((("good", 0.9), ("poor", 0.5))):
            right = np.random.default_rng(number).random(200) < share
            write_record(Path("outputs/two", str(number)), [f"model={name}"], 0, right)
    failed, tried = doctest.testmod(import_module(module), optionflags=OPTIONS)
    assert tried and not failed


@pytest.mark.parametrize("name", fer_lightning.__all__)
def test_what_the_package_offers_has_an_example(name):
    value = getattr(fer_lightning, name)
    assert ">>> " in str(inspect.getdoc(value)), name
