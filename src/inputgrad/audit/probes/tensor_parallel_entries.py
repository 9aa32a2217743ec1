"""Watches the entries to tensor parallelism, `DTensor.from_local`, in one pass: which of them end a graph that was to be kept. Knows no probe.

The backward pass of an entry sums what the processes hold, or brings it in another layout, without a graph. Whether one did is seen from the layout in which
the gradient comes to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.probes.autograd_graph import behind
from inputgrad.audit.torch_internals import is_dtensor_entry, placements_wanted


@contextmanager
def watched(call: GradientCall, roots: Iterable[Tensor]) -> Iterator[None]:
    """Around a pass that is to keep its graph: how many entries cut it is entered in the call."""
    with ExitStack() as handles:
        if call.request.create_graph and "torch.distributed.tensor" in sys.modules:
            for root in roots:
                for node in filter(is_dtensor_entry, behind(root.grad_fn)):
                    handles.callback(node.register_prehook(_counting(call, node)).remove)
        yield


def _counting(call: GradientCall, node: Any) -> Callable[[tuple[Any, ...]], None]:
    wanted = placements_wanted(node)

    def count(gradients: tuple[Any, ...]) -> None:
        call.fate.entries_cut += sum(list(getattr(gradient, "placements", wanted)) != wanted for gradient in gradients)

    return count


def kept_error(call: GradientCall, roots: list[Tensor], run: Callable[[], Any]) -> Any:
    """The pass itself; what it raises is kept in the call."""
    try:
        with watched(call, roots):
            return run()
    except RuntimeError as error:
        call.fate.error = str(error)
        raise
