"""Follows inputs whose values were changed through ``.data`` after a forward pass had saved them, and measures what that does. Knows no probe."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit.call_sites import Site, here
from inputgrad.audit.probes import autograd_graph
from inputgrad.audit.probes.call_arguments import is_in_place
from inputgrad.audit.torch_internals import INPUT_KEEPING_NODES, leaf_of, next_node_number, node_number

_KEPT = 3
"""How many earlier values of one input are kept."""


@dataclass(frozen=True, eq=False)
class DataWrite:
    """One change: where, the values before it, and how far torch's count of nodes had come."""

    site: Site
    before: Tensor
    made: int


class DataWriteTracker:
    """The inputs that were written to in this run."""

    def __init__(self) -> None:
        self._writes: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._owners: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """What ``x.data`` gave -> x."""

    def read(self, owner: Tensor, data: Tensor) -> None:
        if owner.requires_grad and owner.is_leaf and not isinstance(owner, nn.Parameter):
            self._owners[data] = owner

    def changing(self, name: str, args: tuple[Any, ...]) -> None:
        """Before a function that works in place on what ``x.data`` gave."""
        if self._owners and is_in_place(name) and args and isinstance(args[0], Tensor):
            owner = self._owners.get(args[0])
            if owner is not None:
                self.write(owner)

    def write(self, tensor: Tensor) -> None:
        """Before the values of this input change."""
        if tensor.requires_grad and tensor.is_leaf and not isinstance(tensor, nn.Parameter):
            self._writes.setdefault(tensor, deque(maxlen=_KEPT)).append(DataWrite(here(), tensor.detach().clone(), next_node_number()))

    def wrong(self, roots: Sequence[Tensor], parameters: Sequence[Tensor]) -> tuple[DataWrite, float] | None:
        """The change that the graph behind the roots is older than, and by how much the parameters' gradient is off by it."""
        if not self._writes or not parameters:
            return None
        nodes = [node for root in roots if root.grad_fn is not None for node in autograd_graph.behind(root.grad_fn)]
        for tensor, writes in list(self._writes.items()):
            takes = [node for node in nodes for following, _ in node.next_functions if leaf_of(following) is tensor]
            later = [write for write in writes if any(node_number(node) < write.made for node in takes)]
            if not later:
                continue
            if any(node_number(node) > later[0].made for node in takes):  # the new values were used as well: the effect cannot be told apart
                old = [node for node in takes if node_number(node) < later[0].made]
                if any(node.name().startswith(INPUT_KEEPING_NODES) for node in old):
                    return later[0], float("nan")
            elif (difference := _difference(roots, tensor, later[0].before, parameters)) is not None:
                return later[0], difference
        return None


def _difference(roots: Sequence[Tensor], tensor: Tensor, before: Tensor, parameters: Sequence[Tensor]) -> float | None:
    """The relative difference between the gradient as it will be and the one with the input's values put back."""
    now = tensor.detach()
    try:
        wrong = _gradient(roots, parameters)
        tensor.data = before
        right = _gradient(roots, parameters)
    except RuntimeError:
        return None
    finally:
        tensor.data = now
    size = float(right.norm())
    return float((wrong - right).norm()) / size if size else None


def _gradient(roots: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    total = torch.stack([root.sum() for root in roots]).sum()
    parts = torch.autograd.grad(total, list(parameters), retain_graph=True, allow_unused=True)
    return torch.cat([part.detach().double().flatten() for part in parts if part is not None] or [torch.zeros(1)])
