"""The popular recipe, literally: the way of penalising the input gradient that changes nothing. Kept as a warning, and as a run to compare with.

    python -m inputgrad train ... with `criterion: inputgrad.study.popular:recipe`

Knows torch and the base losses by name; uses nothing of the library's own gradients, since it stands for code that does not.
"""

from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses
from inputgrad.batch import Step


def recipe(model: nn.Module, inputs: Tensor, target: Any, *, base: str = "cross_entropy", weight: float = 1.0) -> Step:
    """base(f(x), y) + weight · ‖g‖₂ with g read from ``x.grad``: g carries no graph, so the second summand moves no parameter.

    The loop calls ``optimizer.zero_grad()`` before ``loss.backward()``, as such loops do. Its parameter gradient is that of the base loss alone.
    """
    criterion = base_losses.resolve(base)
    if criterion is None:
        raise ValueError("base=None: the popular recipe needs a base loss by name")
    x = inputs.clone().requires_grad_(True)
    output = model(x)
    loss = base_losses.value(criterion, output, target)
    loss.backward(retain_graph=True)
    assert x.grad is not None
    g = x.grad.clone()
    x.grad.zero_()
    norm = torch.norm(g)
    return Step(loss + weight * norm, output.detach(), {"base": loss.detach(), "gradient_norm": norm})
