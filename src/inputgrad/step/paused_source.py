"""What a term asks of the batch while its formula is frozen: answered outside of the formula's tape. Must not know terms."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from inputgrad.passes.frozen import FrozenDecisions


class PausedSource:
    """The source of a batch, each of whose answers is made while the tape of the formula is paused; but for losses, which are formulas themselves."""

    def __init__(self, source: Any, frozen: FrozenDecisions) -> None:
        self._source, self._frozen = source, frozen

    def __getattr__(self, name: str) -> Any:
        if name == "known":
            return self._source.known
        method: Callable[..., Any] = getattr(self._source, name)
        if name in ("loss_of", "loss_with", "scores_of"):  # the latter asks for its pass here
            return method

        @wraps(method)
        def paused(*args: Any, **kwargs: Any) -> Any:
            with self._frozen.paused():
                return method(*args, **kwargs)

        return paused
