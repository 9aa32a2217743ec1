"""The entries to tensor parallelism, `DTensor.from_local`: its backward pass sums what the processes hold, or brings it in another layout, without a graph
(torch 2.13). Whether one did is seen from the layout in which the gradient comes to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from inputgrad.audit.facts import GradientCall
from inputgrad.audit.graph import behind


@contextmanager
def watched(call: GradientCall, roots: Any) -> Iterator[None]:
    """Around a pass that is to keep its graph: how many entries cut it is entered in the call."""
    with ExitStack() as handles:
        if call.create_graph and "torch.distributed.tensor" in sys.modules:
            for root in [roots] if isinstance(roots, Tensor) else roots:
                for node in behind(root.grad_fn):
                    if node.name() == "_FromTorchTensorBackward":
                        handles.callback(node.register_prehook(_looking(call, node)).remove)
        yield


def _looking(call: GradientCall, node: Any) -> Callable[[tuple[Any, ...]], None]:
    from torch.distributed.tensor import Replicate

    def look(gradients: tuple[Any, ...]) -> None:
        wanted = getattr(node, "grad_placements", None) or [Replicate() if item.is_partial() else item for item in node.forward_input_placements]
        call.entries_cut += sum(list(getattr(gradient, "placements", wanted)) != list(wanted) for gradient in gradients)

    return look
