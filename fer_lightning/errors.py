"""The one exception that reaches the user as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend.

    The message is one sentence naming the file or option, what was expected and what to do. The command line prints it
    alone and exits with status 2.
    """
