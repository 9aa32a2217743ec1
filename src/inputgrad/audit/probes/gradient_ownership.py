"""Follows who put what into ``.grad``: each backward pass's share, until it is stepped along or thrown away. Patches nothing, knows no probe."""

import contextlib
import gc
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit.call_sites import here
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.probes import autograd_graph
from inputgrad.audit.torch_internals import leaf_of


class GradientOwnership:
    """The gradients that wait in ``.grad``, by parameter and by the backward pass that added them; and those that wait in inputs."""

    def __init__(self) -> None:
        self._parameters: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._waiting: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """Parameter -> calls that contributed to its ``.grad`` since it was last empty."""
        self._inputs: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """Other leaf -> calls that contributed likewise."""
        self._used: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """Parameter -> how many of the waiting calls a step has used already."""
        self._looked = False
        self.inside = False
        """Whether a backward pass is at work, or what it adds is looked at: nothing of that is the user's own doing."""
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
        return any(leaf.shape == tensor.shape and self.is_parameter(leaf) for leaf in autograd_graph.leaves(tensor.grad_fn))

    def made_of_parameters(self, tensor: Tensor) -> bool:
        """Whether it was computed from a parameter."""
        return not tensor.is_leaf and any(map(self.is_parameter, autograd_graph.leaves(tensor.grad_fn)))

    def parameters(self) -> list[Tensor]:
        self.look_round()
        return [parameter for parameter in self._parameters if parameter.requires_grad]

    def look_round(self) -> None:
        """The optimisers that there were before the watch began, and their parameters; once, for a large heap takes a while."""
        if self._looked:
            return
        self._looked = True
        for candidate in gc.get_objects():
            if issubclass(type(candidate), torch.optim.Optimizer):  # isinstance would ask proxies for their class
                self.add_optimizer(candidate)

    def add_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self._parameters[parameter] = True

    def moves_inputs(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether it holds no module's parameter, while another optimiser does: the inner loop of an attack, a latent that is searched for."""
        held = (parameter for group in optimizer.param_groups for parameter in group["params"])
        return not any(isinstance(parameter, nn.Parameter) for parameter in held) and any(isinstance(known, nn.Parameter) for known in self._parameters)

    def calls_of(self, parameter: Tensor) -> list[GradientCall]:
        return self._waiting.get(parameter, [])

    def input_calls(self, tensor: Tensor) -> list[GradientCall]:
        """The backward passes whose gradients of this input add up in its ``.grad``."""
        if tensor.grad is not None and not bool(tensor.grad.any()) and len(self._inputs.get(tensor, [])) > 1:
            return self._inputs[tensor][-1:]
        return self._inputs.get(tensor, [])

    def sharing(self, nodes: set[Any]) -> tuple[GradientCall, ...]:
        """The calls of this step whose roots are among these nodes of a graph."""
        return tuple(earlier for earlier, own in self._roots.items() if own & nodes)

    def with_graph(self) -> int:
        """How many parameters' ``.grad`` carry a graph."""
        self.look_round()
        return sum(parameter.grad is not None and parameter.grad.requires_grad for parameter in self._parameters)

    @contextlib.contextmanager
    def added_by(self, call: GradientCall, roots: list[Tensor], leaves: Iterable[Tensor]) -> Iterator[None]:
        """Around one backward pass: what it adds to which leaf. leaves: of the graph behind the roots."""
        self.look_round()
        tops = [root.grad_fn for root in roots if root.grad_fn is not None]
        below = [following for node in tops for following, _ in node.next_functions if following is not None and leaf_of(following) is None]
        self._roots[call] = {*tops, *below}
        self.inside = True
        try:
            before = self._before({id(x): x for x in (*leaves, *self._parameters)}.values())
            try:
                yield
            finally:
                self._compare(call, before)
        finally:
            self.inside = False

    def _before(self, leaves: Iterable[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """The gradients that wait in these leaves."""
        before = [(leaf, None if leaf.grad is None else leaf.grad.detach().clone()) for leaf in leaves]
        for leaf, gradient in before:
            if gradient is None or not bool(gradient.any()):
                self.emptied(leaf)
        return before

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
                call.fate.contributions[id(leaf)] = delta
                total += float(delta.double().square().sum())
                self._waiting.setdefault(leaf, []).append(call)
            else:
                self._inputs.setdefault(leaf, []).append(call)
        call.fate.contributed = total**0.5
        call.fate.not_finite = not math.isfinite(total)

    def emptied(self, leaf: Tensor) -> None:
        """``leaf.grad`` holds nothing any more."""
        if leaf in self._inputs:
            self._inputs[leaf] = []
        calls = self._waiting.pop(leaf, [])
        used = self._used.pop(leaf, 0)
        thrown_away = [call for call in calls[used:] if not call.fate.stepped]
        site = here() if thrown_away else None
        for call in thrown_away:
            call.fate.discarded_by = site
        for call in calls:
            call.fate.contributions.pop(id(leaf), None)

    def shares(self, optimizer: torch.optim.Optimizer) -> tuple[dict[GradientCall, float], tuple[GradientCall, ...]]:
        """The calls that the gradients of a step come from, each with the norm of its share; and which of them an earlier step has used already."""
        self.add_optimizer(optimizer)
        squares: dict[GradientCall, float] = {}
        stale: dict[GradientCall, None] = {}
        for parameter in _with_gradient(optimizer):
            for position, call in enumerate(self._waiting.get(parameter, [])):
                delta = call.fate.contributions.get(id(parameter))
                if delta is None:
                    continue
                squares[call] = squares.get(call, 0.0) + float(delta.double().square().sum())
                if position < self._used.get(parameter, 0):
                    stale[call] = None
        return {call: square**0.5 for call, square in squares.items()}, tuple(stale)

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """The waiting gradients were used; should they still be there at the next step, they are stale."""
        self._roots.clear()
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            self._used[parameter] = len(self._waiting.get(parameter, []))


def gradient_norm(optimizer: torch.optim.Optimizer) -> float:
    """The norm of all that a step goes along."""
    return sum(float(parameter.grad.detach().double().square().sum()) for parameter in _with_gradient(optimizer)) ** 0.5


def _with_gradient(optimizer: torch.optim.Optimizer) -> Iterator[Any]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None)
