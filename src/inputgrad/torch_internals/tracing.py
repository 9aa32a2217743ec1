"""Tracing a function into a graph of operations (``make_fx``), and what the graph says of each operation."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad.torch_internals import compiler
from inputgrad.torch_internals.autocast import is_autocast_on
from inputgrad.torch_internals.functorch import is_transforming
from inputgrad.torch_internals.required import Required

_TRACER = "torch.fx.experimental.proxy_tensor"
_ENGINE = ("engine 'compiled'", "Use engine='double_backward'")


def is_tracing() -> bool:
    """Whether a function is being traced: then no number of it can be looked at. Read in torch 2.6 to 2.15. Missing: False, and `trace` raises."""
    proxies = sys.modules.get(_TRACER)  # without it nothing is traced
    return proxies is not None and hasattr(proxies, "get_proxy_mode") and proxies.get_proxy_mode() is not None


def is_watched() -> bool:
    """Whether a `TorchDispatchMode` is active. Read in torch 2.6 to 2.15. Missing: True."""
    depth = getattr(torch._C, "_len_torch_dispatch_stack", None)
    return depth is None or depth() > 0


def is_only_autograd() -> bool:
    """Whether autograd records and nothing else is at work: no inference mode, no transform, no trace, no compiler that reads along, no autocast.

    Asked at every step, so without a call of Python's where nothing is. Read in torch 2.6 to 2.15. Missing: asked one after the other.
    """
    if (compiler.is_loaded() and torch.compiler.is_compiling()) or not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        return False
    try:
        if torch._C._is_any_autocast_enabled():
            return False
        is_bare = torch._C._functorch.peek_interpreter_stack() is None and not torch._C._len_torch_dispatch_stack()
    except AttributeError:
        is_bare = False
        if is_autocast_on():
            return False
    return is_bare or not (is_transforming() or is_tracing())


def watchers() -> int:
    """How many `TorchDispatchMode`s are active; while one answers, it is not. Read in torch 2.6 to 2.15. Missing: 0."""
    depth = getattr(torch._C, "_len_torch_dispatch_stack", None)
    return 0 if depth is None else int(depth())


def without_dispatch_modes() -> AbstractContextManager[Any]:
    """Around work of the library's own that no `TorchDispatchMode` of the user's is to see. Read in torch 2.6 to 2.15. Missing: they see it."""
    from torch.utils import _python_dispatch

    return getattr(_python_dispatch, "_disable_current_modes", nullcontext)()


def trace(function: Callable[..., Any], *arguments: Any) -> Any:
    """The graph of one run of ``function`` on these real tensors, below autograd. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with Required(f"{_TRACER}.make_fx and get_proxy_mode", *_ENGINE):
        from torch.fx.experimental import proxy_tensor

        make_fx, _ = proxy_tensor.make_fx, proxy_tensor.get_proxy_mode  # without the second no pass would know that it is traced
    return make_fx(function, tracing_mode="real")(*arguments)


def holding(model: nn.Module, tensors: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
    """The model with its parameters and buffers exchanged, tied ones together; what `torch.func.functional_call` does around one call.

    Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    with Required("torch.nn.utils.stateless._reparametrize_module", *_ENGINE):
        from torch.nn.utils.stateless import _reparametrize_module
    return _reparametrize_module(model, dict(tensors), tie_weights=True)


def operation_name(operation: Any) -> str:
    """The name of an operation of a graph, such as ``"aten::add_"``. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SCHEMA:
        return operation._schema.name


def argument_names(operation: Any) -> list[str]:
    """The names of its arguments, in order. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SCHEMA:
        return [argument.name for argument in operation._schema.arguments]


def writes_in_place(operation: Any) -> bool:
    """Whether it writes on an argument. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SCHEMA:
        return operation._schema.is_mutable


_SCHEMA = Required("torch._ops.OpOverload._schema", *_ENGINE)

if TYPE_CHECKING:
    from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
else:
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:

        class TorchDispatchMode:
            """Stands for torch's, which is a base class and so is looked up at import. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""

            def __init__(self) -> None:
                with Required("torch.utils._python_dispatch.TorchDispatchMode", *_ENGINE):
                    raise ImportError("TorchDispatchMode")
