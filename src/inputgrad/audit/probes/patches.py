"""Puts functions of the audit in place of torch's, and every one of torch's back: the one place that does. Knows neither torch nor a probe."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple


class Patch(NamedTuple):
    """One function that is replaced: where it is looked up, by which name, and what makes the replacement of the original."""

    owner: Any
    name: str
    replacement: Callable[[Callable[..., Any]], Callable[..., Any]]


@contextlib.contextmanager
def installed(patches: Iterable[Patch]) -> Iterator[None]:
    """Replace the functions while the block lasts. Every original is put back, in the reverse order, whatever raises in between."""
    with contextlib.ExitStack() as undo:
        for owner, name, replacement in patches:
            original = getattr(owner, name)
            if name in vars(owner):
                undo.callback(setattr, owner, name, original)
            else:
                undo.callback(delattr, owner, name)  # inherited: the replacement goes, and the base's is seen again
            setattr(owner, name, replacement(original))
        yield
