from __future__ import annotations

import pytest

from fer_lightning.data.bad_samples import listing_key, refusal, refuse_or_skip, repeated_listings
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


def test_listings_that_contradict_each_other_are_all_bad() -> None:
    keys = [listing_key(name) for name in ("a.jpg", "b.jpg", "./A.jpg", "c.jpg", "b.jpg")]
    found = repeated_listings(keys, [1, 2, 3, 4, 2], [f"list row {row}" for row in range(1, 6)])
    assert found == {
        0: "list row 1: this image is listed twice, again with another label in list row 3",
        2: "list row 3: this image is listed twice, before with another label in list row 1",
        4: "list row 5: this image is listed twice, before in list row 2",
    }


def test_messages_are_on_one_line_and_not_endless() -> None:
    (message,) = refuse_or_skip([f"a\nb\udcff{'x' * 2000}"], "skip")
    assert message.startswith("a\\nb\\xff") and len(message) == 700
