"""The errors of the library: one form each, saying which argument, what was got, what was expected, and what to do.

And warnings that point at the user's own line.
Knows nothing of the rest. Bad arguments raise `ValueError` or `TypeError`; what an engine cannot do raises `EngineError`.
"""

import contextlib
import difflib
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch

_INSIDE = (f"{Path(__file__).parent}{os.sep}", f"{Path(torch.__file__).parent}{os.sep}", contextlib.__file__)


class EngineError(RuntimeError):
    """An engine cannot obtain the gradient for this model: the message names the operation and the engine that can."""


class MissingInternalError(EngineError):
    """This release of torch lacks a private part of torch that the library uses: the message names the part, what does not work, and what to do."""


def nearest(name: object, known: Iterable[object]) -> str:
    """The tail of a message about an unknown name: the nearest known one, and all of them.

    >>> nearest("lable", ["label", "loss"])
    "did you mean 'label'? Known: 'label', 'loss'"
    >>> nearest("word", ["embeddings.word", "head"])
    "did you mean 'embeddings.word'? Known: 'embeddings.word', 'head'"
    """
    names = sorted(str(item) for item in known)
    longer = [other for other in names if name and (other.startswith(str(name)) or other.endswith(f".{name}"))]
    close = longer or difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(map(repr, names)) or '(none)'}"


def warn(message: str) -> None:
    """A warning that names the user's line: the first frame up that lies neither in this library nor in torch."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
