"""The errors of the library: one form each, saying which argument, what was got, what was expected, and what to do.

Knows nothing of the rest. Bad arguments raise `ValueError` or `TypeError`; what an engine cannot do raises `EngineError`.
"""

import difflib
from collections.abc import Iterable


class EngineError(RuntimeError):
    """An engine cannot obtain the gradient for this model: the message names the operation and the engine that can."""


def nearest(name: object, known: Iterable[object]) -> str:
    """The tail of a message about an unknown name: the nearest known one, and all of them.

    >>> nearest("lable", ["label", "loss"])
    "did you mean 'label'? Known: 'label', 'loss'"
    """
    names = sorted(str(item) for item in known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(map(repr, names)) or '(none)'}"
