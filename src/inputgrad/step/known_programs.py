"""Compiled steps that may be run at once: the program of a form, and a cheap test that nothing has changed that its trace took in.

What a trace takes in is looked for anew at each step in `tracing.guards`, wherever it may be. Where model and base loss hold plain settings only, it is
enough to see that these are the same objects; so it is for terms, but those that hold functions and tensors, such as equations, are looked into. Must not
know engines but by class.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.base_losses import OnTarget
from inputgrad.devices import may_be_looked_at, number
from inputgrad.engines.compiled import Compiled
from inputgrad.step.active_terms import ActiveTerm
from inputgrad.step.checks import check_finite
from inputgrad.step.objective import Call, Objective
from inputgrad.step.plain_step import Scale
from inputgrad.step.surrogate_gradient import accumulate, with_gradients
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.modules import is_loss
from inputgrad.tracing.guards import captured_state
from inputgrad.tracing.held_model import HeldModel
from inputgrad.tracing.records import Program, StepResult
from inputgrad.variables import ModelInputs

Leaves = tuple[Any, ...]
"""The shape, type and device of each tensor in order, each other leaf as it is, and the containers around them."""


@dataclass(frozen=True)
class Captured:
    """What terms, and a base loss of the user's, hold that a trace takes in: tensors by identity, kept so that no other one takes it, and all else by value."""

    state: Hashable
    tensors: tuple[Tensor, ...] = field(compare=False)

    @classmethod
    def of(cls, holders: tuple[Any, ...]) -> "Captured":
        tensors, others = captured_state(*holders)
        return cls((frozenset((key, z.requires_grad) for key, z in tensors.items()), others), tuple(tensors.values()))


@dataclass(frozen=True)
class KnownProgram:
    """A program with what it was made for: the model, and the base loss where that is a module too."""

    program: Program
    objective: Objective
    active: list[ActiveTerm]
    leaves: Leaves
    model: HeldModel
    base: HeldModel | None
    verified: bool
    holders: tuple[Any, ...] = ()
    """The terms that hold something which may change, an equation's closure or the points of a place, and a base loss of the user's own."""
    captured: Captured | None = None
    """What these held when the program was made."""

    @classmethod
    def of(cls, call: Call, program: Program, *, verified: bool) -> "KnownProgram | None":
        """None where something is held that may change unseen."""
        objective, evaluation = call.objective, call.evaluation
        leaves = _leaves(evaluation.inputs, evaluation.target)
        whole = all(item.fraction == 1 and _is_fixed(item.sample_weights) for item in call.active) and _is_fixed(objective.output)
        if leaves is None or not whole:
            return None
        loss = _of_one_part(objective.base)
        model, base = HeldModel.of(evaluation.model), HeldModel.of(loss) if is_loss(loss) else None
        if model is None or (base is None and is_loss(loss)):
            return None
        holders = tuple(item.term for item in call.active if not _is_fixed(item.term)) + (() if is_loss(loss) or _is_torchs_own(loss) else (loss,))
        return cls(program, objective, call.active, leaves, model, base, verified, holders, Captured.of(holders) if holders else None)

    def fits(self, objective: Objective, inputs: ModelInputs, target: Any, active: list[ActiveTerm]) -> bool:
        """Whether this step is one that the program was made for; the model itself is looked at by `holds`."""
        mine = self.objective
        return (
            isinstance(objective.engine, Compiled)
            and (mine.engine is objective.engine and mine.base is objective.base and mine.output is objective.output)
            and mine.base_weight == objective.base_weight
            and len(active) == len(self.active)
            and all(_is_same(a, b) for a, b in zip(active, self.active, strict=True))
            and self._takes(inputs, target)
        )

    def _takes(self, inputs: ModelInputs, target: Any) -> bool:
        if not inputs.bare or not isinstance(target, Tensor):
            return _leaves(inputs, target) == self.leaves
        x = inputs.args[0]
        if x.requires_grad or target.requires_grad:
            return False
        return self.leaves == (_BARE, (x.shape, x.dtype, x.device), (target.shape, target.dtype, target.device))

    def holds(self) -> bool:
        """Whether model, base loss and terms are still as the trace took them in."""
        captured = self.captured is None or Captured.of(self.holders) == self.captured
        return captured and self.model.holds() and (self.base is None or self.base.holds())


@dataclass
class ProgramStep:
    """One step by a program."""

    known: KnownProgram
    inputs: ModelInputs
    target: Any
    result: StepResult | None = None

    def run(self, active: list[ActiveTerm], *, is_training_step: bool) -> None:
        """Make the step. Terms of a program carry nothing from step to step, so it is the same in training and out of it."""
        device = next((tensor.device for _, tensor in self.inputs.tensors()), torch.device("cpu"))
        weights = [number(float(item.weight), device) for item in active]
        self._parameters = self.known.model.parameters()
        self.result = self.known.program.run(self._parameters, self.known.model.buffers(), self.inputs.as_given(), self.target, weights)
        if may_be_looked_at(self.result.loss) and not math.isfinite(self.result.loss.item()):
            check_finite(self.result.parts, self.inputs, self.target)

    def loss(self) -> Tensor:
        """The total, whose backward pass hands out the gradients."""
        assert self.result is not None
        return with_gradients(self.result.loss, self._parameters, self.result.gradients)

    def backward(self, scaled: Scale | None) -> Tensor:
        """Add the gradients to the parameters'. Gives the total."""
        assert self.result is not None
        if scaled is None:
            accumulate(self._parameters, self.result.gradients)
        else:
            scaled(self.loss()).backward()
        return self.result.loss

    @property
    def parts(self) -> dict[str, Tensor]:
        assert self.result is not None
        return self.result.parts

    @property
    def detached_output(self) -> Any:
        return None if self.result is None else self.result.output


def _is_same(a: ActiveTerm, b: ActiveTerm) -> bool:
    return a.term is b.term and a.name == b.name and a.fraction == b.fraction and a.sample_weights == b.sample_weights


_BARE = "tensors by themselves"


def _leaves(inputs: ModelInputs, target: Any) -> Leaves | None:
    """What a program is made for, of inputs and target; None where one of them requires grad, or is neither a tensor nor a plain value."""
    flat, structure = pytree.flatten((inputs.as_given(), target))
    if not all(not value.requires_grad if isinstance(value, Tensor) else _is_fixed(value) for value in flat):
        return None
    kinds = [(value.shape, value.dtype, value.device) if isinstance(value, Tensor) else (type(value), value) for value in flat]
    return (_BARE if inputs.bare and isinstance(target, Tensor) else structure, *kinds)


def _of_one_part(base: Any) -> Any:
    """The loss of one part of the target, where the base loss is one; weights of its samples are parts of the target too."""
    while type(base) is OnTarget:
        base = base.base
    return base


def _is_fixed(value: Any) -> bool:
    """Whether nothing of it can change: a number, a text, or a frozen record of such."""
    if is_dataclass(value) and not isinstance(value, type):
        return bool(value.__dataclass_params__.frozen) and all(_is_fixed(getattr(value, part.name)) for part in fields(value))  # type: ignore[attr-defined]  # every dataclass has it
    return value is None or isinstance(value, (str, bytes, int, float, complex)) or (isinstance(value, tuple) and all(map(_is_fixed, value)))


def _is_torchs_own(function: Any) -> bool:
    return function is None or (getattr(function, "__module__", None) or "").startswith("torch.")
