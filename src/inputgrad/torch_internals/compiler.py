"""What ``torch.compile`` has done to a model, and how the library steps out of compiled code."""

import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


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
    try:
        return torch._C._dynamo.eval_frame.get_eval_frame_callback() is not None
    except AttributeError:
        return True


def has_compiled() -> bool:
    """Whether ``torch.compile`` has been applied to anything of the user's in this process, a function that the model may call included.

    Once `torch._dynamo.reset` was called it no longer knows; compiled code then says itself that it has no second derivative.
    Read in torch 2.6 to 2.15. Missing: True where the compiler is loaded.
    """
    return any(backend is not None and _OWN.get(key) is not backend for key, backend in _backends().items())  # to disable it leaves a None there


def _backends() -> dict[int, Any]:
    """What the compiler remembers of its calls."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    found: dict[int, Any] = {} if frames is None else getattr(frames, "cached_backends", {0: True})
    return found


_OWN: dict[int, Any] = {}
"""What it remembers of the library's own; held, so that no other object takes the identity of one."""


def is_compiled(module: nn.Module) -> bool:
    """Whether ``torch.compile`` was applied to the module, its forward, or a function that it holds. Read in torch 2.6 to 2.15. Missing: False."""
    held = [getattr(type(module), "forward", None), *vars(module).values()]  # a scripted module's class has none
    compiled = type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
    return compiled or any(hasattr(value, "_torchdynamo_orig_callable") for value in held)


class KernelsFor:
    """A graph of operations compiled for tensors like the given ones; called with their like, a list gives a list.

    The compiler is called directly where possible: ``torch.compile`` checks at each call, in Python, whether the tensors still fit. Here one comparison does
    that, and tensors that do not fit go through ``torch.compile``.
    Read in torch 2.6 to 2.15. Missing: ``torch.compile``.
    """

    def __init__(self, graph: torch.fx.GraphModule, tensors: Sequence[Tensor], backend: str, mode: str | None) -> None:
        before = set(_backends())
        self._with_guards = torch.compile(graph, dynamic=False, backend=backend, mode=mode)
        _OWN.update((key, made) for key, made in _backends().items() if key not in before)
        self._kind = _kind(tensors)
        self._alone: Callable[..., Any] | None = None
        inductor: Any = getattr(torch, "_inductor", None)
        has_graphs = mode not in (None, "default") and not str(mode).endswith("no-cudagraphs")  # of CUDA, for which torch.compile tells where a step begins
        if backend == "inductor" and not has_graphs and hasattr(inductor, "compile") and all(type(tensor) in _PLAIN for tensor in tensors):
            options = inductor.list_mode_options(mode) if mode else None
            with torch.no_grad():
                self._alone = inductor.compile(graph, [tensor.detach() for tensor in tensors], options)

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """Its results, without a graph."""
        with torch.no_grad():
            return (self._alone if self._alone is not None and _kind(tensors) == self._kind else self._with_guards)(*tensors)


_PLAIN = (Tensor, nn.Parameter, nn.Buffer)
_FACTS = operator.attrgetter("shape", "dtype", "device")


def _kind(tensors: Sequence[Tensor]) -> list[Any]:
    """What kernels are made for."""
    return [*map(type, tensors), *map(_FACTS, tensors), *map(Tensor.stride, tensors)]
