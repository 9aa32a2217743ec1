"""One training step of several calls: a closure that is called again, micro-batches whose gradients add up. Must not know terms and engines."""

import functools
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from inputgrad.devices import devices_of
from inputgrad.passes.random_state import RandomState, random_state, set_random_state
from inputgrad.step.checks import looking_every
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.tensors import times_written

Method = TypeVar("Method", bound=Callable[..., Any])


TermStates = list[tuple[Any, dict[str, Tensor]]]
"""What terms carry from step to step: each term with its state."""


def _states(criterion: Any) -> TermStates:
    return [(item.term, {name: value.clone() for name, value in state.items()}) for item in criterion.terms if (state := item.term.state())]


def _load(states: TermStates) -> None:
    for term, state in states:
        term.load_state(state)


class _OneStep:
    """What the calls of one step share: its number, and the random state that each batch of it started from."""

    def __init__(self, closure: object | None = None) -> None:
        self.closure = closure
        self._number: int | None = None
        self._started: dict[Hashable, tuple[list[Tensor], RandomState, TermStates]] = {}

    @contextmanager
    def call(self, criterion: Any, model: nn.Module, inputs: Any, target: Any) -> Iterator[bool]:
        """Around one call. Gives whether this batch was evaluated in this step before: then its draws and what terms carry are those of the first time."""
        reached = criterion.step_number
        self._number = criterion.step_number = reached if self._number is None else self._number
        try:
            with self._start(criterion, model, (inputs, target)) as again:
                yield again
        finally:
            criterion.step_number = max(reached, criterion.step_number)

    @contextmanager
    def _start(self, criterion: Any, model: nn.Module, batch: Any) -> Iterator[bool]:
        tensors = [leaf for leaf in pytree.leaves(batch) if isinstance(leaf, Tensor)]
        key = tuple(map(_same_memory, tensors))
        if key not in self._started:
            drawn = random_state(devices_of(model, tensors))
            self._started[key] = tensors, drawn, _states(criterion)  # the tensors are held, so that no other takes their memory
            yield False
            return
        _, started, carried = self._started[key]
        before, now = random_state(started.devices), _states(criterion)
        set_random_state(started)
        _load(carried)
        try:
            yield True
        finally:
            set_random_state(before)
            _load(now)


class StepCounter:
    """The step that a criterion's calls belong to. Not copied with the criterion."""

    def __init__(self) -> None:
        self._open: _OneStep | None = None
        self._depth = 0
        self._of_closure: _OneStep | None = None
        self.again = False
        """Whether the call that is being made repeats one of the same step on the same batch."""
        _watch_optimizers()

    def __reduce__(self) -> tuple[Any, ...]:
        return StepCounter, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> "StepCounter":
        return StepCounter()

    @contextmanager
    def block(self, *, last: bool) -> Iterator[None]:
        """Around calls of one step; where ``last`` is false the next block goes on with it."""
        if self._open is None:
            self._open = _OneStep()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if last and not self._depth:
                self._open = None

    @property
    def is_idle(self) -> bool:
        """Whether no step of several calls is open or may be told from the calls around this one."""
        return not self._depth and not _RUNNING and self._of_closure is None

    def current(self) -> _OneStep | None:
        """The step of several calls that a call made now belongs to; None for a step of its own."""
        if self._depth:
            return self._open
        if not _RUNNING:
            self._of_closure = None
            return None
        closure = _running_step()
        if closure is None:
            self._of_closure = None
        elif self._of_closure is None or self._of_closure.closure is not closure:
            self._of_closure = _OneStep(closure)
        return self._of_closure


def in_one_step(method: Method) -> Method:
    """A call of a criterion, ``method(criterion, model, inputs, target)``, in the step that it belongs to."""

    @functools.wraps(method)
    def called(criterion: Any, model: nn.Module, inputs: Any, target: Any = None, **settings: Any) -> Any:
        if criterion.steps.is_idle and criterion.check_finite is None:
            return method(criterion, model, inputs, target, **settings) if settings else method(criterion, model, inputs, target)
        if criterion.check_finite is not None:
            with looking_every(criterion.check_finite, criterion.step_number):
                return in_step(criterion, model, inputs, target, **settings)
        return in_step(criterion, model, inputs, target, **settings)

    def in_step(criterion: Any, model: nn.Module, inputs: Any, target: Any, **settings: Any) -> Any:
        counter: StepCounter = criterion.steps
        step = counter.current()
        if step is None or counter.again:
            return method(criterion, model, inputs, target, **settings)
        with step.call(criterion, model, inputs, target) as again:
            counter.again = again
            try:
                return method(criterion, model, inputs, target, **settings)
            finally:
                counter.again = False

    return cast(Method, called)


def _same_memory(tensor: Tensor) -> Hashable:
    """What tells that two tensors are views of the same numbers, and that nobody has written on them since."""
    if type(tensor) is not Tensor or tensor.is_inference() or tensor.layout is not torch.strided:
        return id(tensor)
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, times_written(tensor))


_RUNNING: list[object] = []
"""One entry for each call of an optimiser's step that has begun and not ended."""


@functools.cache
def _watch_optimizers() -> None:
    register_optimizer_step_pre_hook(_begins)
    register_optimizer_step_post_hook(_ends)


def _begins(*_: Any) -> None:
    _RUNNING.append(object())


def _ends(*_: Any) -> None:
    if _RUNNING:
        _RUNNING.pop()


def _running_step() -> object | None:
    """The call of an optimiser's step that runs now, with a closure: its entry; None outside of one."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "step" and isinstance(frame.f_locals.get("self"), Optimizer):
            return _RUNNING[-1]
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    _RUNNING.clear()  # left behind by a step that raised
    return None
