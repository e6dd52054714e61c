"""What the attacks share: how many cases are tried, what counts as held, and the record of the campaign.

`make test` tries a few hundred cases of each kind, `make attack` thousands; both draw them from fixed seeds.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_lightning.errors import UserError

FULL = os.environ.get("FER_ATTACK") == "full"
LONGEST = 1000  # characters of a sentence


@dataclass
class Campaign:
    """A number of hostile inputs of one kind, each of which must be used correctly or refused in one sentence.

    Attributes:
        name: As the record lists it.
        tried: Cases judged so far.
        failures: What went wrong, one line a case.
    """

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def cases(self, quick: int, full: int) -> Iterator[tuple[int, np.random.Generator]]:
        """Yields the number of each case and a random generator that depends on nothing but this number."""
        for case in range(full if FULL else quick):
            yield case, np.random.default_rng([len(self.name), *self.name.encode(), case])

    def judge(
        self,
        case: object,
        call: Callable[[], Any],
        named: str | None = None,
        accepts: Callable[[Any], bool] | None = None,
    ) -> Any:
        """Runs one case and counts it.

        It holds where `call` returns and `accepts` agrees, or where it raises a `UserError` of one line that contains
        `named`. Every other exception is a failure, `SystemExit` and `RecursionError` too.

        Args:
            case: What was tried, for the list of failures.
            call: Reads the hostile input.
            named: What the sentence of a refusal must name, such as the file.
            accepts: Whether a result is right; None accepts none, so that the input must be refused.

        Returns:
            What `call` returned, None where it refused.
        """
        self.tried += 1
        try:
            result = call()
        except UserError as error:
            sentence = str(error)
            if "\n" in sentence or len(sentence) > LONGEST or (named is not None and named not in sentence):
                self.fail(case, f"refused, but not in one sentence that names {named!r}: {sentence[:300]!r}")
            return None
        except (Exception, SystemExit) as error:
            self.fail(case, f"{type(error).__name__}: {str(error)[:300]}")
            return None
        if accepts is None:
            self.fail(case, f"accepted: {str(result)[:300]}")
        elif not accepts(result):
            self.fail(case, f"wrong result: {str(result)[:300]}")
        return result

    def fail(self, case: object, problem: str) -> None:
        """Counts a failure of a case that was judged elsewhere."""
        self.failures.append(f"{case}: {problem}")

    def held(self, case: object, right: bool, problem: str) -> None:
        """Counts a case that the caller has judged: `problem` says what is wrong where it is not `right`."""
        self.tried += 1
        if not right:
            self.fail(case, problem)


HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    0.5,
    10**9,
    2**70,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "happy",
    "x" * 5000,
    "\x1b[2J\x07",
    "a\nb|c<script>alert(1)</script>",
    "=1+1",
    "/etc/passwd",
    "../../outside",
    "~/outside",
    "${oc.env:HOME}",
    "${hydra:runtime.cwd}",
    "antigravity.X",
    "os.system",
    "fer_lightning.cli.main",
    "fer_lightning.models.resnet.ResNet.__init__",
    [],
    {},
    [1, "two", None],
    [0.5] * 100,
    {"_target_": "pandas.read_pickle", "filepath_or_buffer": "bomb.pkl"},
    {"_target_": "torch.load", "f": "bomb.pkl", "weights_only": False},
    {"_args_": ["bomb.pkl"], "_target_": "pickle.load"},
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with each of its keys."""
    found: list[tuple[Any, Any]] = []
    left = [value]
    while left:
        container = left.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                left.append(container[key])
    return found


def _mutate(value: Any, rng: np.random.Generator) -> str:
    """Changes plain values in one to three places; returns what was done."""
    done = []
    for _ in range(rng.integers(1, 4)):
        places = _places(value)
        if not places:
            break
        container, key = places[rng.integers(len(places))]
        kind = rng.integers(4)
        hostile = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[str(HOSTILE[rng.integers(len(HOSTILE))])[:50]] = hostile
        elif kind == 1:
            container.insert(key, container[key])
        else:
            if rng.integers(20) == 0:
                for _ in range(300):
                    hostile = [hostile]
            container[key] = hostile
        done.append(f"{('removed', 'added at', 'set', 'set')[kind]} {key}: {str(hostile)[:40]!r}")
    return "; ".join(done)


def _damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes that were cut off, changed, repeated or replaced."""
    place = int(rng.integers(len(content)))
    kind = rng.integers(5)
    if kind == 0:
        return content[:place]
    if kind == 1:
        changed = bytearray(content)
        for spot in rng.integers(0, len(content), rng.integers(1, 30)):
            changed[spot] = rng.integers(256)
        return bytes(changed)
    if kind == 2:
        return content[:place] + content[place // 2 :]
    if kind == 3:
        return content[:place] + bytes(min(64, len(content) - place)) + content[place + 64 :]
    return rng.bytes(int(rng.integers(0, 200)))


@pytest.fixture(scope="session")
def mutate() -> Callable[[Any, np.random.Generator], str]:
    """`mutate(values, rng)` changes plain values in one to three places and returns what it did."""
    return _mutate


@pytest.fixture(scope="session")
def damage() -> Callable[[bytes, np.random.Generator], bytes]:
    """`damage(content, rng)` returns the content of a damaged file."""
    return _damage


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """The campaign of a test, named after it; fails at the end where one of its cases did not hold."""
    running = Campaign(request.node.name.removeprefix("test_"))
    yield running
    if record := os.environ.get("FER_ATTACK_RECORD"):
        row = {"campaign": running.name, "tried": running.tried, "held": running.tried - len(running.failures)}
        with Path(record).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    assert running.tried, "the campaign tried nothing"
    shown = "\n".join(running.failures[:20])
    assert not running.failures, f"{len(running.failures)} of {running.tried} did not hold:\n{shown}"


@pytest.fixture
def open_data(make_data: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a data module over a folder; its arguments are the class, the folder and whether to skip bad samples."""

    def make(cls: Any, root: Path, skip: bool, **options: Any) -> Any:
        policy = {"split": cls.policies[0], "on_bad_sample": "skip" if skip else "raise"}
        return make_data(cls, root, cache_dir=str(root / ".cache"), **policy, **options)

    return make
