from __future__ import annotations

import logging
import os
import pickle

import pytest

from fer_lightning.errors import PrintableFormatter, UserError, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("grün смех 笑 😀 (1)=[x].png", "grün смех 笑 😀 (1)=[x].png"),
        ("a\nb\r\t\x1b[31mred\x9b\x7f", "a\\nb\\r\\t\\x1b[31mred\\x9b\\x7f"),
        (os.fsdecode(b"b\xff\xfe.png"), "b\\xff\\xfe.png"),
        ("a\u202egpj.exe\u2028\ud800", "a\\u202egpj.exe\\u2028\\ud800"),
    ],
)
def test_names_are_shown_on_one_line_and_command_no_terminal(name, shown):
    assert printable(name) == shown
    assert printable(shown) == shown
    shown.encode("utf-8")


def test_a_sentence_is_one_line_and_survives_another_process():
    error = UserError("a\nb.png is broken.", "c.png too.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "a\\nb.png is broken.\nc.png too."


def test_a_log_line_is_one_line_whatever_name_is_in_it():
    name = os.fsdecode(b"a\n\x1b[2J\xff.png")
    record = logging.LogRecord("fer", logging.INFO, "a.py", 1, "%s left out", (name,), None)
    assert PrintableFormatter("%(levelname)s %(message)s").format(record) == r"INFO a\n\x1b[2J\xff.png left out"
