"""The loss: a base loss plus weighted terms on the input gradient. The only place where heads, terms and engines meet.

total(θ) = mean_n loss(f(x_n; θ), y_n) + Σ_k w_k · mean_n R_k(g_n, …)        g_n = ∂ s(f(x_n; θ), y_n) / ∂ x_n
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses, engines
from inputgrad.base_losses import Base
from inputgrad.batch import Step
from inputgrad.distributed.agreement import check_agreement
from inputgrad.distributed.ddp import as_forward_pass, unwrap_ddp
from inputgrad.distributed.tensor_parallel import twice_differentiable_from_local
from inputgrad.engines import Compiled, Engine
from inputgrad.passes.model_checks import check_model, without_inference_tensors
from inputgrad.passes.outputs import default_output
from inputgrad.step.active_terms import (
    ActiveTerm,
    Terms,
    active_terms,
    differentiated_inputs,
    evaluate_term,
    part_names,
    reduce_term,
    warn_if_stateful,
    weighted_terms,
)
from inputgrad.step.checks import check_backward, check_finite, warn_if_coupled, warn_if_split
from inputgrad.step.evaluation import Evaluation
from inputgrad.step.surrogate_gradient import accumulate, with_gradients
from inputgrad.terms.base import Term, TermSum, Weighted
from inputgrad.variables import ModelInputs

if TYPE_CHECKING:
    from inputgrad.diagnosis.records import Explanation
    from inputgrad.tracing.compiled_step import StepResult


class InputGradientLoss(nn.Module):
    """A training loss that depends on the input gradient: ``criterion(model, inputs, target)`` is a 0-d tensor, right in value and parameter gradient.

    base: a loss of (output, target): a name ("mse", "cross_entropy", …), a torch loss, any callable, or None for a loss of terms alone.
    terms: terms or weighted terms, ``0.01 * GradientNorm()``; also their sum.
    engine: how the parameter gradient of the terms is obtained: "auto", a name of `inputgrad.engines.ENGINES`, or an engine object.
    output: picks the output tensor ``[N, ...]`` from what the model returns; by default the tensor itself, the first of a tuple, or ``.logits``.

    ``nn.MSELoss() + 0.01 * GradientNorm()`` builds the same. The weight of a term may be a callable of the step number; steps are counted where
    gradients are enabled and the criterion is in training mode (`step_number`, kept in its ``state_dict``).
    Under ``no_grad`` and ``inference_mode`` value and parts are right, and the loss carries no graph.
    """

    def __init__(self, base: Base, terms: Terms = (), *, engine: str | Engine = "auto", output: Callable[[Any], Tensor] | None = None) -> None:
        super().__init__()
        self.base = base_losses.resolve(base)
        self.terms = weighted_terms(terms)
        if self.base is None and not self.terms:
            raise ValueError("InputGradientLoss needs a base loss, terms, or both; got neither")
        if output is not None and not callable(output):
            raise TypeError(f"output must be a callable that picks a tensor from what the model returns, got {type(output).__name__}")
        self.engine = engines.resolve(engine)
        self.output = output
        self.step_number = 0

    def forward(self, model: nn.Module, inputs: Any, target: Any = None) -> Tensor:
        """The loss of one batch, 0-d. ``inputs``: a tensor, a tuple (``model(*inputs)``) or a dict (``model(**inputs)``)."""
        return self.evaluate(model, inputs, target).loss

    def evaluate(self, model: nn.Module, inputs: Any, target: Any = None) -> Step:
        """The loss with its parts and the model's output."""
        with self._call(model, inputs, target) as call:
            if (result := self._by_program(call)) is not None:
                return Step(_handed_out(call.model, result), result.output, result.parts)
            values = self._values(call)
            total = _total(values, call.due)
            loss = call.ledger.attached(total) if call.differentiable else total.detach()
            return Step(loss, call.ledger.found(), {name: value.detach() for name, value in values.items()})

    def backward(self, model: nn.Module, inputs: Any, target: Any = None, *, scaler: torch.amp.GradScaler | None = None) -> Step:
        """`evaluate` and ``loss.backward()`` in one call; the loss of the step that comes back is detached.

        Nothing is differentiated that nobody asked for: the backward pass stops short of the inputs, unless they require grad themselves; and an engine
        of several passes runs them one at a time.

        scaler: multiplies the gradients, as ``scaler.scale(loss).backward()`` does; the loss of the step is without its scale.
        Raises `RuntimeError` where gradients are not enabled and inside the forward pass of a replica, `TypeError` for another kind of scaler.
        """
        check_backward(model, scaler)
        scaled = scaler.scale if scaler is not None else _as_it_is
        with self._call(model, inputs, target) as call:
            call.ledger.at_once, call.ledger.alone = True, len(call.due) == 1
            if (result := self._by_program(call)) is not None:
                if scaler is None and unwrap_ddp(call.model) is call.model:
                    accumulate(call.model, result.gradients)
                else:  # a replica's reducer is to hear of them
                    scaled(_handed_out(call.model, result)).backward()
                return Step(result.loss, result.output, result.parts)
            values = self._values(call)
            total = _total(values, call.due)
            call.ledger.backward(scaled(total))
            return Step(total.detach(), call.ledger.found(), {name: value.detach() for name, value in values.items()})

    def losses(self, model: nn.Module, inputs: Any, target: Any = None) -> dict[str, Tensor]:
        """The parts by name, each a 0-d tensor with its own graph and without its weight: for adaptive weights and gradient aggregation.

        Their graphs overlap: ``backward(retain_graph=True)`` for all but the last. A term that is not due at this step is not among them, and
        the factor ``every`` of one that is due is left out like its weight.
        """
        with self._call(model, inputs, target) as call:
            values = self._values(call)
            return {name: call.ledger.attached(value) if call.differentiable else value.detach() for name, value in values.items()}

    def explain(self, model: nn.Module, inputs: Any, target: Any = None, *, compile: bool = False) -> "Explanation":
        """Which engine this criterion takes for this model and batch, why, and what each of the others gives, needs and costs. Printed, it is a table.

        Every engine makes a step in which every term is due, on the whole batch; ``compiled`` only with ``compile=True``, for compiling takes long.
        Nothing is touched, no step is counted, and warnings are collected in the record. Raises what the model and the base loss raise by
        themselves, and `ValueError` for a criterion without terms; what an engine raises stands in its row.
        """
        from inputgrad.diagnosis.validation import explain  # the survey imports the loss

        return explain(self, model, inputs, target, compile=compile)

    @contextmanager
    def _call(self, model: nn.Module, inputs: Any, target: Any) -> Iterator["_Call"]:
        check_model(model)
        differentiable = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            warn_if_coupled(model, self.terms)
            warn_if_split(self, model, self.terms)
            terms = active_terms(self.terms, self.step_number, training=differentiable)
            given, is_training_step = ModelInputs.of(without_inference_tensors(inputs)), differentiable and self.training
            opened = self._opened(model, given, without_inference_tensors(target), terms, differentiable=differentiable, is_training_step=is_training_step)
            with twice_differentiable_from_local(), check_agreement(model, given, target), opened as call:
                yield call
        if differentiable and self.training:
            self.step_number += 1

    @contextmanager
    def _opened(
        self, model: nn.Module, inputs: ModelInputs, target: Any, terms: list[ActiveTerm], *, differentiable: bool, is_training_step: bool = False
    ) -> Iterator["_Call"]:
        wrt, pick = differentiated_inputs(terms, inputs, model), self.output or default_output
        ledger = Evaluation(
            model, inputs, target, wrt=wrt, base=self.base, engine=self.engine, pick=pick, differentiable=differentiable, is_training_step=is_training_step
        )
        try:
            yield _Call(model, inputs, target, ledger, terms, differentiable)
        finally:
            ledger.close()

    def _by_program(self, call: "_Call") -> "StepResult | None":
        """The whole step by one compiled graph, where the engine works so and this call can be served so."""
        if not isinstance(self.engine, Compiled) or not call.differentiable or warn_if_stateful(self, call.due):
            return None
        model = unwrap_ddp(call.model)

        def step(inputs: Any, target: Any, weights: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor], Tensor | None, set[int]]:
            terms = [replace(item, weight=weight) for item, weight in zip(call.due, weights, strict=True)]
            with self._opened(model, ModelInputs.of(inputs), target, terms, differentiable=True) as inner:
                values = self._values(inner)
                return inner.ledger.attached(_total(values, terms)), values, inner.ledger.found(), inner.ledger.own_leaves()

        schedule = tuple((item.name, item.fraction) for item in call.due)
        holders = (self.base, self.output, *(item.term for item in call.due))
        weights = [torch.tensor(float(item.weight), dtype=torch.float64) for item in call.due]
        return self.engine.run(self, model, step, call.inputs.as_given(), call.target, weights, schedule, holders)

    def _values(self, call: "_Call") -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        if self.base is not None:
            values["base"] = call.ledger.base_value()
        for item in call.due:
            part = call.ledger.share(item.fraction)
            values[item.name] = reduce_term(item.term, evaluate_term(item.term, part.batch), part.sizes())
        if not values:  # no base loss, and no term due at this step
            values["base"] = call.ledger.output().sum() * 0
        check_finite(values, call.ledger.batch)
        return values

    def get_extra_state(self) -> dict[str, Any]:
        carried = {name: item.term.state() for name, item in zip(part_names(self.terms), self.terms, strict=True)}
        return {"step_number": self.step_number, "terms": {name: state for name, state in carried.items() if state}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.step_number = state["step_number"]
        for name, item in zip(part_names(self.terms), self.terms, strict=True):
            item.term.load_state(state.get("terms", {}).get(name, {}))

    def __add__(self, other: Term | Weighted | TermSum) -> "InputGradientLoss":
        if not isinstance(other, (Term, Weighted, TermSum)):
            return NotImplemented
        larger = InputGradientLoss(self.base, (*self.terms, *other.weighted()), engine=self.engine, output=self.output)
        larger.step_number = self.step_number
        return larger

    def extra_repr(self) -> str:
        return f"{' + '.join(map(repr, self.terms))}, engine={self.engine}"


@dataclass(frozen=True)
class _Call:
    """One call of the loss: its ledger, the terms due at its step, and whether gradients were enabled."""

    model: nn.Module
    inputs: ModelInputs
    target: Any
    ledger: Evaluation
    due: list[ActiveTerm]
    differentiable: bool


def _as_it_is(loss: Tensor) -> Tensor:
    return loss


def _handed_out(model: nn.Module, result: "StepResult") -> Tensor:
    return as_forward_pass(model, lambda: with_gradients(result.loss, unwrap_ddp(model), result.gradients))


def _total(values: Mapping[str, Tensor], terms: list[ActiveTerm]) -> Tensor:
    weights = {item.name: item.weight for item in terms}
    absent = {name for name, weight in weights.items() if not isinstance(weight, Tensor) and weight == 0}  # weight 0: as if it were not there
    summands = [_like(weights.get(name, 1), value) * value for name, value in values.items() if name not in absent]
    return torch.stack(summands).sum() if summands else torch.zeros_like(next(iter(values.values())))


def _like(weight: float | Tensor, value: Tensor) -> float | Tensor:
    return weight.to(value) if isinstance(weight, Tensor) else weight
