"""What ``torch.compile`` has done to a model, and how the library steps out of compiled code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def is_loaded() -> bool:
    """Whether the compiler is loaded, as it is once something has been compiled; to load it is slow. Read in torch 2.6 to 2.15."""
    return "torch._dynamo" in sys.modules


@contextmanager
def outside_compiled_code() -> Iterator[None]:
    """Around what a compiled function may not do, such as taking a stance. Needs a loaded compiler.

    Read in torch 2.6 to 2.15. Missing: it does nothing, and torch raises an error of its own where this is called from a compiled function.
    """
    switch = getattr(getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None), "set_eval_frame", None)
    if switch is None:
        yield
        return
    following = switch(None)
    try:
        yield
    finally:
        switch(following)


def may_compile() -> bool:
    """Whether Python that is called now may be compiled as it runs, as what a compiled function calls is. Read in torch 2.6 to 2.15. Missing: True."""
    if not is_loaded() or torch.compiler.is_compiling():
        return is_loaded()
    callback = getattr(getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None), "get_eval_frame_callback", None)
    return callback is None or callback() is not None


def is_compiled(module: nn.Module) -> bool:
    """Whether ``torch.compile`` was applied to the module, its forward, or a function that it holds. Read in torch 2.6 to 2.15. Missing: False."""
    held = [getattr(type(module), "forward", None), *vars(module).values()]  # a scripted module's class has none
    compiled = type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
    return compiled or any(hasattr(value, "_torchdynamo_orig_callable") for value in held)
