"""What a loss is made of, and one call of it on a batch: the values of its parts, their total, and the way back.

prepare (`Objective.on`) → linearize (the evaluation asks the engine) → pull back (`PullBack`)
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.batch import AddedUp
from inputgrad.engines.base import Engine
from inputgrad.errors import EngineError
from inputgrad.passes.frozen import FrozenDecisions
from inputgrad.passes.outputs import default_output
from inputgrad.step.active_terms import ActiveTerm, constantly_active, differentiated_inputs, value_of_term
from inputgrad.step.checks import check_finite
from inputgrad.step.evaluation import Evaluation
from inputgrad.step.pull_back import PullBack
from inputgrad.step.setting import Setting
from inputgrad.terms.base import Weighted
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.modules import held
from inputgrad.variables import ModelInputs


@dataclass(frozen=True)
class Objective:
    """Base loss, weighted terms, the engine, and which tensor of what the model returns is the output."""

    base: Callable[[Any, Any], Tensor] | None
    terms: tuple[Weighted, ...]
    engine: Engine
    output: Callable[[Any], Tensor] | None = None
    base_weight: float = 1.0
    base_counts: bool = True
    """Whether the base loss is part of the total; where it is not, heads know it all the same."""

    @cached_property
    def constantly_active(self) -> list[ActiveTerm] | None:
        """The terms of every step of training, where they are the same at each."""
        return constantly_active(self.terms)

    @cached_property
    def pick(self) -> Callable[[Any], Tensor]:
        """What picks the output of what the model returns."""
        return self.output or default_output

    @contextmanager
    def on(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        target: Any,
        active: list[ActiveTerm],
        *,
        differentiable: bool = True,
        is_training_step: bool = False,
        immediate: bool = False,
        frozen: FrozenDecisions | None = None,
        lean: bool = False,
    ) -> Iterator["Call"]:
        """A call on a batch with the terms that are active; every pass that it makes is let go of at the end."""
        setting = Setting(self.base, self.engine, self.pick, differentiable, is_training_step, immediate, len(active) == 1, frozen, lean)
        evaluation = Evaluation(model, inputs, target, setting, wrt=differentiated_inputs(active, inputs, model))
        try:
            yield Call(self, evaluation, active)
        finally:
            evaluation.close()


class WithObjective(nn.Module):
    """A module that has the parts of an objective as its attributes, any of which may be set anew."""

    base: Any
    terms: tuple[Weighted, ...]
    engine: Any
    output: Any
    base_weight: float

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "step_number":  # set at each step
            self.__dict__.pop("_objective", None)
        super().__setattr__(name, value)

    @property
    def objective(self) -> Objective:
        """What this loss is made of, as one frozen record: the same one until something is set."""
        own = self.__dict__
        made: Objective | None = own.get("_objective")
        if made is None or made.base is not held(self, "base"):  # a module may be exchanged past __setattr__
            made = own["_objective"] = Objective(self.base, self.terms, self.engine, self.output, self.base_weight)
        return made


@dataclass(frozen=True)
class Call:
    """One call of a loss: its objective, the evaluation of its batch, and the terms that are active at its step."""

    objective: Objective
    evaluation: Evaluation
    active: list[ActiveTerm]

    def values(self) -> dict[str, Tensor]:
        """The parts by name, each 0-d, without its weight. Raises `ValueError` where inputs that are not finite made one of them so."""
        values: dict[str, Tensor] = {}
        frozen = self.evaluation.setting.frozen
        if self.objective.base is not None and self.objective.base_counts:
            values["base"] = self.evaluation.base_value()
        elif self.objective.base is not None:
            self.evaluation.size()  # what terms are held against
        for item in self.active:
            part = self.evaluation.subset(item.fraction)
            with frozen.formulas() if frozen else nullcontext():
                values[item.name] = _value_of(item, part)
        if not values:  # no base loss, and no term active at this step
            values["base"] = self.evaluation.outputs.zero()
        check_finite(values, self.evaluation.inputs, self.evaluation.target)
        return values

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the parts; one of weight 0 is left out, as if it were not there."""
        return weighted_sum(values, self.active, self.objective.base_weight)

    def pull_back(self) -> PullBack:
        """The way back for values of this call."""
        return PullBack(self.evaluation)

    def attached(self, value: Tensor) -> Tensor:
        """``value`` with its way back to the parameters; detached where the call is not differentiable."""
        return self.pull_back().attach(value) if self.evaluation.setting.differentiable else value.detach()


def weighted_sum(values: Mapping[str, Tensor | AddedUp], active: list[ActiveTerm], base_weight: float = 1.0) -> Tensor:
    """Σ weight · value, 0-d; one of weight 0 is left out, as if it were not there."""
    total: Any = values.get("base") if base_weight else None
    if total is not None and base_weight != 1:
        total = base_weight * total
    for item in active:
        value, weight = values[item.name], item.weight
        if isinstance(value, AddedUp):
            if total is not None and weight and not isinstance(weight, Tensor):
                total = torch.add(total, value.total, alpha=weight / value.numbers)
                continue
            value = value.mean()
        if isinstance(weight, Tensor):
            value = (weight.to(value.dtype) if weight.device.type == "cpu" else weight.to(value)) * value  # a number of the CPU goes along with a kernel
        elif weight == 0:
            continue
        elif total is not None:
            total = torch.add(total, value, alpha=weight)
            continue
        elif weight != 1:
            value = weight * value
        total = value if total is None else total + value
    return torch.zeros_like(as_number(next(iter(values.values())))) if total is None else total


def as_number(value: Tensor | AddedUp) -> Tensor:
    """A part's value, 0-d."""
    return value.mean() if isinstance(value, AddedUp) else value


def _value_of(item: ActiveTerm, part: Evaluation) -> Tensor:
    try:
        return value_of_term(item, part.batch, part.sizes)
    except (RuntimeError, ValueError) as error:
        known = isinstance(error, EngineError) or messages.is_machine_error(error) or getattr(item.term, "index", None) is not None
        reason = None if known else part.rows_apart()
        if reason is None:
            raise
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(f"the term {item.name} could not be evaluated: {cause}. The reason may be that {reason}") from error
