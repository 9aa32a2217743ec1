"""Questions to autograd's engine while a backward pass runs."""

from collections.abc import Callable
from typing import Any

import torch

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


def after_backward(callback: Callable[[], None]) -> None:
    """Call it when the running backward pass is over.

    Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    with _CALLBACKS:
        queue = torch.autograd.Variable._execution_engine.queue_callback
    queue(callback)


_CALLBACKS = Required(
    "torch.autograd.Variable._execution_engine.queue_callback",
    "DistributedDataParallel with static_graph=True",
    "Use DistributedDataParallel(..., static_graph=False)",
)
