"""Who put what into ``.grad``: each backward pass's share, until it is stepped along or thrown away."""

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit.facts import GradientCall
from inputgrad.audit.sites import Site, here

Cleared = Callable[[list[GradientCall], Site], None]


class Contributions:
    """The gradients that wait in ``.grad``, by parameter and by the backward pass that added them; and those that wait in inputs."""

    def __init__(self) -> None:
        self._parameters: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._waiting: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """Parameter -> calls that contributed to its ``.grad`` since it was last empty."""
        self._inputs: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """Other leaf -> calls that contributed likewise."""
        self._used: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """Parameter -> how many of the waiting calls a step has used already."""
        self._told: Cleared = lambda calls, site: None
        self._looked = False
        self.inside = False
        """Whether a backward pass is at work."""
        self.emptying = False
        """Whether a ``zero_grad`` is at work: it reads gradients for its own ends."""
        self._roots: dict[GradientCall, set[Any]] = {}
        """The calls of this step with the nodes that their roots stand on."""

    def is_parameter(self, tensor: Tensor) -> bool:
        """Whether it is trained: a module's parameter, or a tensor that an optimiser holds."""
        return isinstance(tensor, nn.Parameter) or tensor in self._parameters

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether it is a parameter, or what a step made of one (the fast weights of meta-learning)."""
        if self.is_parameter(tensor) or tensor.is_leaf:
            return self.is_parameter(tensor)
        return any(leaf.shape == tensor.shape and self.is_parameter(leaf) for leaf in _leaves([tensor])[0])

    def parameters(self) -> list[Tensor]:
        self.look_round()
        return [parameter for parameter in self._parameters if parameter.requires_grad]

    def look_round(self) -> None:
        """The optimisers that there were before the watch began, and their parameters; once, for a large heap takes a while."""
        if self._looked:
            return
        self._looked = True
        for found in gc.get_objects():
            if issubclass(type(found), torch.optim.Optimizer):  # isinstance would ask proxies for their class
                self.known(found)

    def known(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._parameters[parameter] = True

    def calls_of(self, parameter: Tensor) -> list[GradientCall]:
        return self._waiting.get(parameter, [])

    def input_calls(self, tensor: Tensor) -> list[GradientCall]:
        """The backward passes whose gradients of this input add up in its ``.grad``."""
        if tensor.grad is not None and not bool(tensor.grad.any()) and len(self._inputs.get(tensor, [])) > 1:
            return self._inputs[tensor][-1:]
        return self._inputs.get(tensor, [])

    @contextlib.contextmanager
    def added_by(self, call: GradientCall, roots: list[Tensor]) -> Iterator[None]:
        """Around one backward pass: what it adds to which leaf."""
        self.look_round()
        leaves, nodes = _leaves(roots)
        call.shares_graph_with = [earlier for earlier, own in self._roots.items() if own & nodes]
        tops = [root.grad_fn for root in roots if root.grad_fn is not None]
        below = [following for node in tops for following, _ in node.next_functions if following is not None and not hasattr(following, "variable")]
        self._roots[call] = {*tops, *below}
        call.reaches = frozenset(id(leaf) for leaf in leaves)
        call.graph_in_grads = sum(p.grad is not None and p.grad.requires_grad for p in self._parameters)
        before = [(leaf, None if leaf.grad is None else leaf.grad.detach().clone()) for leaf in {id(x): x for x in (*leaves, *self._parameters)}.values()]
        for leaf, gradient in before:
            if gradient is None or not bool(gradient.any()):
                self.emptied(leaf)
        self.inside = True
        try:
            yield
        finally:
            self.inside = False
            self._compare(call, before)

    def _compare(self, call: GradientCall, before: list[tuple[Tensor, Tensor | None]]) -> None:
        total = 0.0
        for leaf, old in before:
            if leaf.grad is None:
                continue
            new = leaf.grad.detach()
            delta = new.clone() if old is None else new - old
            if not bool(delta.any()):
                continue
            if self.is_parameter(leaf):
                call.contributions[id(leaf)] = delta
                total += float(delta.double().square().sum())
                self._waiting.setdefault(leaf, []).append(call)
            else:
                self._inputs.setdefault(leaf, []).append(call)
        call.contributed = total**0.5
        call.not_finite = total != total or total == float("inf")

    def emptied(self, leaf: Tensor) -> None:
        """``leaf.grad`` holds nothing any more."""
        if leaf in self._inputs:
            self._inputs[leaf] = []
        calls = self._waiting.pop(leaf, [])
        used = self._used.pop(leaf, 0)
        thrown = calls[used:]
        if thrown:
            self._told(thrown, here())
        for call in calls:
            call.contributions.pop(id(leaf), None)

    @contextlib.contextmanager
    def clearing(self, told: Cleared) -> Iterator[None]:
        """While it lasts, ``told`` hears of gradients that ``zero_grad`` throws away, and of the line that does it; new optimisers are known."""
        self._told = told
        originals = [(cls, cls.zero_grad) for cls in (torch.optim.Optimizer, nn.Module)]
        for cls, original in originals:
            cls.zero_grad = self._zeroing(original)  # type: ignore[method-assign]  # put back when the audit ends
        made = torch.optim.Optimizer.__init__
        torch.optim.Optimizer.__init__ = self._making(made)  # type: ignore[method-assign]  # put back when the audit ends
        try:
            yield
        finally:
            torch.optim.Optimizer.__init__ = made  # type: ignore[method-assign]  # put back when the audit ends
            for cls, original in originals:
                cls.zero_grad = original  # type: ignore[method-assign]  # put back when the audit ends

    def _making(self, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it takes the place of one
            original(optimizer, *args, **kwargs)
            self.known(optimizer)

        return __init__

    def _zeroing(self, original: Callable[..., None]) -> Callable[..., None]:
        def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> None:
            parameters = list(owner.parameters()) if isinstance(owner, nn.Module) else [p for group in owner.param_groups for p in group["params"]]
            if isinstance(owner, torch.optim.Optimizer):
                self.known(owner)
            self.emptying = True
            try:
                original(owner, *args, **kwargs)
            finally:
                self.emptying = False
            for parameter in parameters:
                self.emptied(parameter)

        return zero_grad

    def at_step(self, optimizer: torch.optim.Optimizer) -> tuple[dict[GradientCall, float], float, list[GradientCall], bool]:
        """The calls that the step's gradients come from, each with the norm of its share; the norm of all; those used before; whether all is finite."""
        self.known(optimizer)
        squares: dict[GradientCall, float] = {}
        stale: dict[GradientCall, None] = {}
        total = 0.0
        for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
            total += float(parameter.grad.detach().double().square().sum())
            waiting = self._waiting.get(parameter, [])
            for position, call in enumerate(waiting):
                delta = call.contributions.get(id(parameter))
                if delta is None:
                    continue
                squares[call] = squares.get(call, 0.0) + float(delta.double().square().sum())
                if position < self._used.get(parameter, 0):
                    stale[call] = None
        finite = total == total and total != float("inf")
        return {call: square**0.5 for call, square in squares.items()}, total**0.5, list(stale), finite

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """The waiting gradients were used; should they still be there at the next step, they are stale."""
        self._roots.clear()
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            self._used[parameter] = len(self._waiting.get(parameter, []))


def _leaves(roots: list[Tensor]) -> tuple[list[Tensor], set[Any]]:
    """The leaves of the graph behind the roots, and its nodes."""
    seen: set[Any] = set()
    found: list[Tensor] = []
    waiting = [root.grad_fn for root in roots]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found.append(leaf)
        waiting.extend(following for following, _ in node.next_functions)
    return found, seen
