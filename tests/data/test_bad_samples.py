from __future__ import annotations

import pytest

from fer_lightning.data.bad_samples import refusal, refuse_or_skip
from fer_lightning.errors import UserError

MESSAGES = ["a.csv row 3: 5 pixels, expected 2304.", "a.csv row 9: emotion '8' is unknown."]


def test_skip_keeps_every_message() -> None:
    assert refuse_or_skip(MESSAGES, "skip") == tuple(MESSAGES)


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_nothing_bad_is_no_error(policy: str) -> None:
    assert refuse_or_skip([], policy) == ()


def test_raise_names_the_first_counts_the_rest_and_tells_the_way_out() -> None:
    with pytest.raises(UserError) as caught:
        refuse_or_skip(MESSAGES, "raise")
    assert str(caught.value) == (
        "a.csv row 3: 5 pixels, expected 2304 (1 more like it); mend it or leave such rows out with "
        "data.on_bad_sample=skip."
    )


def test_a_single_message_stands_alone() -> None:
    assert str(refusal(["x.jpg: broken"])).startswith("x.jpg: broken; mend it")


def test_unknown_policy() -> None:
    with pytest.raises(UserError, match=r"data.on_bad_sample='ignore' is unknown: use raise or skip"):
        refuse_or_skip([], "ignore")
