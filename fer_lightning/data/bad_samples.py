"""What happens to rows that cannot be used: refuse the dataset, or leave them out and say so."""

from __future__ import annotations

from collections.abc import Sequence

from fer_lightning.errors import UserError


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
    return tuple(messages)


def refusal(messages: Sequence[str]) -> UserError:
    """The error for the rows found bad, in one sentence.

    Args:
        messages: One message a bad row, at least one.
    """
    more = f" ({len(messages) - 1} more like it)" if len(messages) > 1 else ""
    return UserError(f"{messages[0].rstrip('.')}{more}; mend it or leave such rows out with data.on_bad_sample=skip.")
