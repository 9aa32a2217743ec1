"""autograd's engine: questions to it while a backward pass runs, and a backward pass without what `torch.autograd.grad` does before one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from inputgrad.torch_internals import messages
from inputgrad.torch_internals.required import Required


def engine_goes_on_to(node: Any) -> bool | None:
    """Whether the running backward pass goes on to this node; None where the engine does not tell, as engines other than torch's do not.

    Read in torch 2.6 to 2.15. Missing: None.
    """
    try:
        return torch._C._will_engine_execute_node(node)
    except AttributeError:
        return None
    except RuntimeError as error:
        return True if messages.LEAF_ASKED_FOR.is_in(error) else None


def keeps_graph() -> bool:
    """Whether the backward pass that runs keeps its graph, as ``retain_graph=True`` asks for. Read in torch 2.6 to 2.15. Missing: True."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return asked is None or bool(asked())


def after_backward(callback: Callable[[], None]) -> None:
    """Call it when the running backward pass is over.

    Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    with _CALLBACKS:
        queue = torch.autograd.Variable._execution_engine.queue_callback
    queue(callback)


def gradient_from(output: Tensor, start: Tensor, variables: Sequence[Tensor], *, create_graph: bool, keep_graph: bool = True) -> tuple[Tensor | None, ...]:
    """Σ start · ∂output/∂z for each variable z, None where no path leads to it. ``start`` has the output's shape and type.

    What `torch.autograd.grad` gives, but the engine is called at once: its checks of shapes and kinds take longer than the backward pass of a small network.
    Where tensors of a kind of their own or a function mode are to see the call, it is made there. Read in torch 2.6 to 2.15. Missing: made there too.
    """
    engine = getattr(torch.autograd.graph, "_engine_run_backward", None)
    if engine is None or type(output) is not Tensor or torch._C._len_torch_function_stack():
        return torch.autograd.grad(output, variables, start, retain_graph=keep_graph, create_graph=create_graph, allow_unused=True)
    found: tuple[Tensor | None, ...] = engine((output,), (start,), keep_graph, create_graph, tuple(variables), True, accumulate_grad=False)
    return found


def backward_from(output: Tensor, start: Tensor) -> None:
    """``output.backward(start)``, with the engine called at once likewise. Read in torch 2.6 to 2.15. Missing: that itself."""
    engine = getattr(torch.autograd.graph, "_engine_run_backward", None)
    if engine is None or type(output) is not Tensor or torch._C._len_torch_function_stack():
        output.backward(start)  # function modes of torch 2.6 do not hear of `torch.autograd.backward`
    else:
        engine((output,), (start,), False, False, (), allow_unreachable=True, accumulate_grad=True)


_CALLBACKS = Required(
    "torch.autograd.Variable._execution_engine.queue_callback",
    "DistributedDataParallel with static_graph=True",
    "Use DistributedDataParallel(..., static_graph=False)",
)
