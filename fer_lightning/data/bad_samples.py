"""What happens to rows that cannot be used: refuse the dataset, or leave them out and say so."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

from fer_lightning.errors import UserError, printable

_LONGEST = 700  # characters of a message, whose path or field may be a stranger's


def refuse_or_skip(messages: Sequence[str], policy: str) -> tuple[str, ...]:
    """Applies `data.on_bad_sample` to the rows found bad.

    Args:
        messages: One message a bad row, naming its file and row.
        policy: `"raise"` or `"skip"`.

    Returns:
        The messages, for the report of what was skipped.

    Raises:
        UserError: There is a bad row and the policy is `"raise"`, or the policy is neither word.
    """
    if policy not in ("raise", "skip"):
        raise UserError(f"data.on_bad_sample={policy!r} is unknown: use raise or skip.")
    if messages and policy == "raise":
        raise refusal(messages)
    return tuple(printable(message)[:_LONGEST] for message in messages)


def refusal(messages: Sequence[str]) -> UserError:
    """The error for the rows found bad, in one sentence.

    Args:
        messages: One message a bad row, at least one.
    """
    more = f" ({len(messages) - 1} more like it)" if len(messages) > 1 else ""
    first = printable(messages[0])[:_LONGEST].rstrip(".")
    return UserError(f"{first}{more}; mend it or leave such rows out with data.on_bad_sample=skip.")


def listing_key(name: str) -> str:
    """What two spellings of one image have in common: upper and lower case, `./` and backslashes do not count."""
    return os.path.normpath(name.replace("\\", "/")).casefold()


def repeated_listings(keys: Sequence[str], labels: Sequence[object], places: Sequence[str]) -> dict[int, str]:
    """Finds images that are listed more than once.

    Of listings that agree the first is kept; of those that contradict each other none is: nobody knows the right one.

    Args:
        keys: `listing_key` of each listing.
        labels: Label of each listing.
        places: File and row of each listing, for messages.

    Returns:
        Position and message of each listing that is not kept.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        groups[key].append(position)
    bad = {}
    for positions in groups.values():
        if len(positions) < 2:
            continue
        first, *later = positions
        contradictory = len({labels[position] for position in positions}) > 1
        with_label = " with another label" if contradictory else ""
        for position in later:
            bad[position] = f"{places[position]}: this image is listed twice, before{with_label} in {places[first]}"
        if contradictory:
            bad[first] = f"{places[first]}: this image is listed twice, again{with_label} in {places[later[0]]}"
    return dict(sorted(bad.items()))
