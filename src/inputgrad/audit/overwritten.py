"""Inputs whose values were changed through ``.data`` after a forward pass had saved them: what the following backward pass gives, with and without."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit import graph
from inputgrad.audit.sites import Site, here

_SAVING = ("Addmm", "Mm", "Bmm", "Convolution", "MkldnnConv", "Mv")
"""Nodes that keep their input for the gradient of their weight."""
_KEPT = 3
"""How many earlier values of one input are kept."""


@dataclass(frozen=True, eq=False)
class Write:
    """One change: where, the values before it, and how far torch's count of nodes had come."""

    site: Site
    before: Tensor
    made: int


class Overwritten:
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
        in_place = name.startswith("__i") or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if in_place and self._owners and args and isinstance(args[0], Tensor):
            owner = self._owners.get(args[0])
            if owner is not None:
                self.write(owner)

    def write(self, tensor: Tensor) -> None:
        """Before the values of this input change."""
        if tensor.requires_grad and tensor.is_leaf and not isinstance(tensor, nn.Parameter):
            self._writes.setdefault(tensor, deque(maxlen=_KEPT)).append(Write(here(), tensor.detach().clone(), _made()))

    def wrong(self, roots: Sequence[Tensor], parameters: Sequence[Tensor]) -> tuple[Write, float] | None:
        """The change that the graph behind the roots is older than, and by how much the parameters' gradient is off by it."""
        if not self._writes or not parameters:
            return None
        nodes = [node for root in roots if root.grad_fn is not None for node in graph.behind(root.grad_fn)]
        for tensor, writes in list(self._writes.items()):
            takes = [node for node in nodes for following, _ in node.next_functions if getattr(following, "variable", None) is tensor]
            later = [write for write in writes if any(node._sequence_nr() < write.made for node in takes)]
            if not later:
                continue
            if any(node._sequence_nr() > later[0].made for node in takes):  # the new values were used as well: the effect cannot be told apart
                old = [node for node in takes if node._sequence_nr() < later[0].made]
                if any(node.name().startswith(_SAVING) for node in old):
                    return later[0], float("nan")
            elif (found := _difference(roots, tensor, later[0].before, parameters)) is not None:
                return later[0], found
        return None


def _difference(roots: Sequence[Tensor], tensor: Tensor, before: Tensor, parameters: Sequence[Tensor]) -> float | None:
    """The relative difference between the gradient as it will be and the one with the input's values put back."""
    now = tensor.detach()
    try:
        found = _gradient(roots, parameters)
        tensor.data = before
        right = _gradient(roots, parameters)
    except RuntimeError:
        return None
    finally:
        tensor.data = now
    size = float(right.norm())
    return float((found - right).norm()) / size if size else None


def _gradient(roots: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    total = torch.stack([root.sum() for root in roots]).sum()
    parts = torch.autograd.grad(total, list(parameters), retain_graph=True, allow_unused=True)
    return torch.cat([part.detach().double().flatten() for part in parts if part is not None] or [torch.zeros(1)])


def _made() -> int:
    """How many nodes have been made: the count that the next one gets."""
    with torch.inference_mode(False), torch.enable_grad():
        node: Any = torch.zeros((), requires_grad=True).clone().grad_fn
    return int(node._sequence_nr())
