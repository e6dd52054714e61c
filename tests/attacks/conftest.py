"""What the attacks share: how many cases are tried, what counts as held, and the record of the campaign.

`make test` tries a few hundred cases of each kind, `make attack` thousands; both draw them from fixed seeds.
"""

from __future__ import annotations

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
def open_data() -> Callable[..., Any]:
    """Makes a DataModule with plain options over a folder; its arguments are the class, the folder and `skip`."""
    plain: dict[str, Any] = {
        "image_size": 16,
        "channels": 1,
        "mean": [0.5],
        "std": [0.25],
        "batch_size": 4,
        "num_workers": 0,
        "val_fraction": 0.5,
        "split_seed": 0,
        "fold": 0,
        "seed": 0,
        "store": "packed",
        "sampler": "shuffle",
        "align": False,
        "side": "none",
        "landmark_model": None,
        "align_workers": 1,
        "transforms": [],
    }

    def make(cls: Any, root: Path, skip: bool, **options: Any) -> Any:
        policy = {"split": cls.policies[0], "on_bad_sample": "skip" if skip else "raise"}
        return cls(root=str(root), cache_dir=str(root / ".cache"), **policy, **{**plain, **options})

    return make
