"""How far differences are off, on request: the terms' parameter gradient at the step of the engine and at its double.

D(2h) − D(h) = (2^k − 1)·e(h) + …        e(h): the error of order h^k (k = 1, 2, 4); or the rounding of D(h), where that is larger
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.engines.finite_difference import FiniteDifference
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.step.active_terms import active_terms

_DIVISORS = {"one_sided": 1.0, "central": 3**0.5, "richardson": 15**0.5}
"""√(2^k − 1): half way, on a scale of factors, between an error of order h^k and one of rounding."""


@dataclass(frozen=True)
class _Wider(FiniteDifference):
    """The same at a multiple of the step."""

    factor: float = 2.0

    def _fraction(self, output: Tensor, variables: list[Tensor]) -> float:
        return self.factor * super()._fraction(output, variables)


def estimated_error(engine: FiniteDifference, criterion: Any, model: nn.Module, inputs: Any, target: Any) -> float:
    """‖D(2h) − D(h)‖ / ‖D(h)‖, over √(2^k − 1), of the parameter gradient of all terms together; 0 where they have none.

    Costs two steps. Leaves no trace: no ``.grad``, no buffer, no draw, and the criterion's step number stays.
    """
    replay = RandomAndBufferState(model, next((parameter.device for parameter in model.parameters()), torch.device("cpu")))
    replay.remember()
    found = []
    for factor in (1.0, 2.0):
        used = _Wider(engine.scheme, engine.step, engine.strict, factor)
        with replay.run():
            found.append(_gradients(used, criterion, model, inputs, target))
    off = sum(float((b.double() - a.double()).square().sum()) for a, b in zip(*found, strict=True))
    size = sum(float(a.double().square().sum()) for a in found[0])
    return (off / size) ** 0.5 / _DIVISORS[engine.scheme] if size else 0.0


def _gradients(engine: FiniteDifference, criterion: Any, model: nn.Module, inputs: Any, target: Any) -> list[Tensor]:
    """The parameter gradient of the terms by themselves, with their weights; the base loss is none of it."""
    kept, step = criterion.engine, criterion.step_number
    criterion.engine = engine
    try:
        parts = criterion.losses(model, inputs, target)
    finally:
        criterion.engine, criterion.step_number = kept, step
    terms = [item.weight * parts[item.name] for item in active_terms(criterion.terms, step, training=True)]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not terms or not parameters:
        return []
    total = torch.stack(terms).sum()
    return list(torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True))
