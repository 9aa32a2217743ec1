"""Follows the closure that an optimiser is given: the gradients of the step are there only once it has been called, within `step`. Knows no probe."""

import functools
from collections.abc import Callable
from typing import Any

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def around(args: tuple[Any, ...], kwargs: dict[str, Any], before: Callable[[], None], after: Callable[[], None]) -> Arguments | None:
    """The arguments of `step` with ``before`` and ``after`` around each call of its closure; None where there is no closure."""
    closure = kwargs["closure"] if callable(kwargs.get("closure")) else args[1] if len(args) > 1 and callable(args[1]) else None
    if closure is None:
        return None

    @functools.wraps(closure)
    def watched(*given: Any, **named: Any) -> Any:
        before()
        result = closure(*given, **named)
        after()
        return result

    return ((args[0], watched, *args[2:]), kwargs) if "closure" not in kwargs else (args, {**kwargs, "closure": watched})
