"""Compiled parts of a model run as the Python that they were made of while the library runs the model.

What ``torch.compile`` makes has a first derivative only ("does not currently support double backward"), hides the branch decisions, and shows our modes
neither its attention nor its normalisation. Traced inside ``torch.func.jvp`` it is given up, in a way that leaves other compiled modules of the process
uncompiled too. With the compiler standing by for the pass, none of that happens, and what was compiled before stays so for everybody else.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from inputgrad.torch_internals import compiler

_LOCK = threading.Lock()
_STANDING_BY: list[ExitStack] = []
"""One entry a thread inside: all the same, which the last one closes, since torch's stance is one for the process."""


@contextmanager
def uncompiled() -> Iterator[None]:
    """``torch.compiler.set_stance("force_eager")`` that several threads may enter and leave in any order."""
    if not compiler.is_loaded():
        yield
        return
    with compiler.outside_compiled_code(), _standing_by():  # the criterion may run inside a compiled function
        yield


@contextmanager
def _standing_by() -> Iterator[None]:
    with _LOCK:
        held = _STANDING_BY[0] if _STANDING_BY else ExitStack()
        if not _STANDING_BY:
            held.enter_context(torch.compiler.set_stance("force_eager"))
        _STANDING_BY.append(held)
    try:
        yield
    finally:
        with _LOCK:
            _STANDING_BY.pop()
            if not _STANDING_BY:
                held.close()


def compiled_part(model: nn.Module) -> str | None:
    """The first part of the model that ``torch.compile`` was applied to, in words: a module, its forward, or a function that it holds."""
    for name, module in model.named_modules():
        if compiler.is_compiled(module):
            return f"module {name!r}" if name else "the model"
    return None
