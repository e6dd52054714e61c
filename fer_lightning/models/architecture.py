"""What every architecture of this package is: a module that knows the options it was built with."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from torch import nn


class Architecture(nn.Module):
    """A network that remembers the options of its constructor, so that a checkpoint can name them.

    Attributes:
        options: Every option by name, defaults included.

    Example:
        >>> class Linear(Architecture):
        ...     def __init__(self, num_classes: int, pixels: int = 48 * 48) -> None:
        ...         super().__init__()
        ...         self.classify = nn.Linear(pixels, num_classes)
        >>> Linear(num_classes=7).options
        {'num_classes': 7, 'pixels': 2304}
    """

    options: dict[str, Any]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        build = cls.__init__
        signature = inspect.signature(build)

        @functools.wraps(build)
        def remember(self: Any, *arguments: Any, **options: Any) -> None:
            build(self, *arguments, **options)
            if type(self) is cls:
                bound = signature.bind(self, *arguments, **options)
                bound.apply_defaults()
                self.options = dict(list(bound.arguments.items())[1:])

        cls.__init__ = remember  # type: ignore[method-assign]
