"""Branch decisions and constants: the side of every ReLU-like unit, the choice of every max-pool, recorded at x and replayed elsewhere.

A piecewise smooth model is differentiated on the piece that it is on at x. A displaced pass that changes the side of one unit jumps by O(1), which a
difference divides by its step; with the decisions of x replayed it does not. Seen are the functions of torch that a model calls from Python, and those
that torch's own Python functions call; what a scripted module or a kernel of its own decides inside is not (`module_with_hidden_branches`).

What a model computes under ``torch.no_grad()`` is a constant to autograd, so its value at x is replayed. The forward of a custom Function, which torch
runs without gradients, is no such place: its decisions are replayed, its values are computed anew, ``detach`` or not.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inputgrad.errors import EngineError
from inputgrad.passes.branches.no_grad import under_no_grad
from inputgrad.passes.branches.rules import RULES, VALUES, Rule
from inputgrad.passes.constants import NoGradRegion
from inputgrad.torch_internals.autograd_graph import in_custom_backward
from inputgrad.torch_internals.checkpoints import in_checkpoint, in_reentrant_checkpoint
from inputgrad.torch_internals.function_modes import own_body, public_form
from inputgrad.torch_internals.tracing import watchers

Value = TypeVar("Value")


class OtherControlFlowError(EngineError):
    """A later pass takes decisions that the pass at x did not take."""


class BranchTape:
    """The decisions of one pass, in the order in which they were taken.

    parameters_move: whether the later passes have other parameters, and not other inputs.
    """

    def __init__(self, *, parameters_move: bool = False) -> None:
        self.parameters_move = parameters_move
        self._decisions: list[Any] = []
        self._next: int | None = None
        self.paused = False
        """Whether functions run as they are for the moment, neither recorded nor replayed."""
        self._constants: dict[Any, Any] = {}
        self._calls: Counter[Any] = Counter()
        self.dtypes_of_functions: set[torch.dtype] = set()
        """The types in which custom Functions computed, which run without a graph."""
        self.under_rule = False
        """Whether a rule runs, so that what its kernels decide is on the tape."""
        self.function: Any = None
        """The function of torch that runs without a rule."""
        self.unseen: str | None = None
        """Where decisions were met that will not be replayed: in a checkpointed region, which runs again in the backward pass, in a script, or in a write
        under no_grad."""

    @property
    def recorded(self) -> bool:
        """Whether the pass at x is over: decisions are read, not taken."""
        return self._next is not None

    def decide(self, decision: Callable[[], Tensor]) -> Tensor:
        """The decision taken at x: made and kept while recording, read while replaying."""
        return self.remember(lambda: decision().detach())

    def remember(self, make: Callable[[], Value]) -> Value:
        """The same for anything that a pass must have as it was at x."""
        if self._next is None:
            self._decisions.append(make())
            kept: Value = self._decisions[-1]
            return kept
        if self._next >= len(self._decisions):
            raise OtherControlFlowError(
                "the displaced pass took more branches than the pass at x: the model's control flow is not the same in both, so differences do not work"
            )
        self._next += 1
        kept = self._decisions[self._next - 1]
        return kept

    def constant(self, key: Hashable, make: Callable[[], Value | None]) -> Value | None:
        """What ``make`` gave at x in the same call under this key, counted by key; None for nothing.

        Not in the order of decisions: wrappers that shard or replicate a model work under no_grad too, and not alike in every pass.
        """
        number = self._calls[key]
        self._calls[key] += 1
        if not self.recorded and (made := make()) is not None:
            self._constants[key, number] = made
        kept: Value | None = self._constants.get((key, number))
        return kept

    @contextmanager
    def run(self) -> Iterator[None]:
        """Around a pass: the first one records, the later ones replay."""
        self._calls.clear()
        recording = not self.recorded
        if not recording:
            self._next = 0
        with _BranchMode(self):
            yield
        self._next = 0


class _BranchMode(TorchFunctionMode):
    def __init__(self, tape: BranchTape) -> None:
        super().__init__()
        self._tape = tape
        self._region = NoGradRegion()
        self._entered: list[Any] = []
        self._watchers = watchers()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if self._tape.paused or watchers() < self._watchers:  # a dispatch mode of the user's answers, by calls of kernels that are no doing of the model's
            return func(*args, **kwargs)
        self._region.follow(func, args)
        in_backward = in_custom_backward()
        if self._region.inside and in_backward:  # a backward is part of the function that it belongs to, whatever it leaves out
            return func(*args, **kwargs)
        if self._region.inside:
            return self._ruled(under_no_grad, func, args, kwargs)
        if not any(isinstance(value, Tensor) and value.is_floating_point() for value in (*args, *kwargs.values())):
            return self._enter(func, args, kwargs)
        func, given = public_form(func), func
        rule = RULES.get(func)
        if rule is None:
            return self._enter(given, args, kwargs)
        in_function = self._region.in_function or in_backward
        if in_checkpoint() or (in_function and in_reentrant_checkpoint()):
            self._tape.unseen = "a checkpointed region"
            return func(*args, **kwargs)
        return func(*args, **kwargs) if in_function and func in VALUES else self._ruled(rule, func, args, kwargs)

    def _ruled(self, rule: Rule, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._tape.under_rule = True
        try:
            return rule(self._tape, func, args, kwargs)
        finally:
            self._tape.under_rule = False

    def _enter(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function as it is; where it is Python of torch's, so that the functions it calls are seen."""
        body = own_body(func)
        if body is None or func in self._entered:  # a method of Tensor calls that of its base class, which goes by the same name
            return self._direct(func, args, kwargs)
        self._entered.append(func)
        try:
            with self:
                return body(*args, **kwargs)
        finally:
            self._entered.pop()

    def _direct(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._tape.function = func
        try:
            result = func(*args, **kwargs)
        finally:
            self._tape.function = None
        if isinstance(result, Tensor) and result.is_floating_point() and not self._tape.recorded and self._region.in_function and result.numel():
            self._tape.dtypes_of_functions.add(result.dtype)  # an empty one, as torch.utils.checkpoint made before 2.13, rounds nothing
        return result


def module_with_hidden_branches(model: nn.Module) -> str | None:
    """The module whose branches no tape can see, in words; None where every module of the model is ordinary Python."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            return f"{name or 'the model'} ({kind}: scripted)"
        if isinstance(module, nn.RNNBase) and module.mode == "RNN_RELU":
            return f"{name or 'the model'} ({kind} with ReLU: one fused kernel)"
    return None
