"""Steps that an engine makes at once (compiled ones): what it is asked for, and what becomes of its gradients. Must not know which engine it is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from inputgrad.devices import number
from inputgrad.distributed.ddp import as_forward_pass, unwrap_ddp
from inputgrad.identity import identity_of
from inputgrad.step.active_terms import ActiveTerm, warn_if_stateful
from inputgrad.step.checks import check_finite
from inputgrad.step.objective import Call
from inputgrad.step.surrogate_gradient import accumulate, with_gradients
from inputgrad.tracing.records import StepRequest, StepResult
from inputgrad.variables import ModelInputs


def whole_step(owner: nn.Module, call: Call) -> StepResult | None:
    """The step by the engine at once; None where the engine makes none, or not this one.

    owner: the criterion, for which the engine keeps what it has compiled.
    """
    objective, evaluation = call.objective, call.evaluation
    if not objective.engine.traits.takes_whole_steps or not evaluation.setting.differentiable or warn_if_stateful(owner, call.active):
        return None
    model = unwrap_ddp(evaluation.model)

    def step(inputs: Any, target: Any, weights: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor], Any, set[int]]:
        active = [replace(item, weight=weight) for item, weight in zip(call.active, weights, strict=True)]
        with objective.on(model, ModelInputs.of(inputs), target, active) as inner:
            values = inner.values()
            return inner.attached(inner.total(values)), values, inner.evaluation.outputs.detached(), inner.evaluation.own_leaves()

    result = objective.engine.take_step(
        StepRequest(
            owner,
            model,
            step,
            evaluation.inputs.as_given(),
            evaluation.target,
            weights=[number(float(item.weight), evaluation.inputs.device(model)) for item in call.active],
            schedule=(objective.base_counts, objective.base_weight, *((item.name, item.fraction, _keys(item.sample_weights)) for item in call.active)),
            holders=(objective.base, objective.output, *(item.term for item in call.active), *_callables(call.active)),
        )
    )
    if result is not None:
        check_finite(result.parts, evaluation.inputs, evaluation.target)
    return result


def _keys(sample_weights: Sequence[Any]) -> tuple[Any, ...]:
    """Weights per sample, in a form that can be compared: parts of the target by name, callables by identity."""
    return tuple(identity_of(given) if callable(given) else given for given in sample_weights)


def _callables(active: Sequence[ActiveTerm]) -> list[Any]:
    return [given for item in active for given in item.sample_weights if callable(given)]


def as_loss(model: nn.Module, result: StepResult) -> Tensor:
    """The loss of a step whose backward pass hands out the gradients, to a reducer too where the model is a replica."""
    parameters = dict(unwrap_ddp(model).named_parameters())
    return as_forward_pass(model, lambda: with_gradients(result.loss, parameters, result.gradients))


def hand_over(model: nn.Module, result: StepResult, scaled: Callable[[Tensor], Tensor] | None) -> None:
    """Add the gradients of a step to the parameters' ``.grad``, scaled by a gradient scaler's ``scale`` where one is given."""
    if scaled is None and unwrap_ddp(model) is model:
        accumulate(dict(model.named_parameters()), result.gradients)
        return
    loss = as_loss(model, result)  # a replica's reducer is to hear of them
    (loss if scaled is None else scaled(loss)).backward()
