"""Whether a model's backward pass is the derivative of its forward pass: the input gradient against a difference of the score, at the first step.

    ⟨v, g⟩  =  (s(z + hv) − s(z − hv)) / 2h        v: g with weights between 1/2 and 3/2, and a random part of the same length

Gradient reversal, gradient scaling, straight-through rounding and hooks that rescale change gradients on purpose. Double backward differentiates the backward
pass as it is written; engines that displace the input differentiate the forward pass, and cannot mean the same. A misfit counts where it does not change with
the step: that of a right model falls with h², or is rounding and differs from step to step.
"""

from functools import partial

import torch
from torch import Tensor

from inputgrad.devices import in_float64, joint_length
from inputgrad.errors import EngineError
from inputgrad.heads import Score
from inputgrad.memory import memory
from inputgrad.passes.displaced import FrozenBranches, input_norm, scores_at_displacement
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import nonlinearity
from inputgrad.passes.rounding import HALF
from inputgrad.passes.second_derivative import Named, model_fingerprint, signature
from inputgrad.passes.values_alone import values_alone
from inputgrad.torch_internals.autograd_graph import custom_functions
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import Key

_STEPS = (0.5, 2.0, 4.0)
_STEADY = 0.2
"""By how much of the misfit the differences at other steps may differ, for it to be none of the step's."""
_BENT = {True: 1e-2, False: 1e-4}
"""From which misfit on, relative to ⟨v, g⟩, finer steps are tried, in float32 and float64."""
_APPROXIMATE = 1e-4
"""Up to this, relative to ⟨v, g⟩, the backward pass is an approximation, such as that of an adjoint equation solved anew; differences are no more exact."""
_FINER = (2.0**-3, 2.0**-6, 2.0**-9, 2.0**-12)
_MARGIN = 30.0
"""How far above the rounding of the gradient the misfit must be."""


def step_refinement(forward: ForwardPass, score: Score) -> float:
    """What the step of differences is multiplied by, because the model bends within it; 1 unless the first step has measured this."""
    factor: float = memory(forward.model).measured.get(_refinement_key(forward, score), 1.0)
    return factor


def _refinement_key(forward: ForwardPass, score: Score) -> tuple[object, ...]:
    return ("step", score.head.identity(), forward.wrt, model_fingerprint(forward.model))


def check_first_derivative(engine: Named, forward: ForwardPass, score: Score, scored: FrozenBranches, gradient: dict[Key, Tensor], rounding: float) -> None:
    """Raises `EngineError` where the gradient of a variable is not the derivative of the score. Once for each form of a model; two passes for each variable.

    Not of sharded models, whose processes would have to agree on the number of passes; nor in half precision, where the gradient is rounded too coarsely.
    """
    key = ("first derivative", signature(engine, forward, score))
    if is_tracing() or rounding > HALF or forward.placement.is_fsdp or key in memory(forward.model).checked:
        return
    forward.let_go()
    compared, refinement = False, 1.0
    for variable, whole in gradient.items():
        here = forward.values().variables[variable]
        part = whole if whole.shape == here.shape else whole.sum(1)  # of all rows of the head together
        length, size = joint_length([part]), input_norm([here.detach()]) or here.numel() ** 0.5
        if not 0 < length < float("inf"):
            continue
        compared = True
        told, differs, finer = _compared(forward, scored, variable, part, size, rounding)
        refinement = min(refinement, finer)
        if differs is not None and abs(differs - told) > _MARGIN * nonlinearity(forward, scored, (variable,), (whole,)) * abs(told):
            raise EngineError(_text(engine, forward, variable, told, differs))
    if compared:
        memory(forward.model).measured[_refinement_key(forward, score)] = refinement
        memory(forward.model).checked.add(key)


def _compared(forward: ForwardPass, scored: FrozenBranches, key: Key, gradient: Tensor, size: float, rounding: float) -> tuple[float, float | None, float]:
    """⟨v, g⟩, the difference of the score that stands against it at every step (None where there is none), and how much finer a step must be."""
    direction = _direction(gradient)
    told = float((in_float64(gradient) * in_float64(direction)).sum())
    c = rounding ** (1 / 3) / 2
    h = c * size / joint_length([direction])

    def score(step: float) -> float:
        return float(in_float64(scores_at_displacement(forward, scored, {key: direction}, step).detach()).sum())

    def difference(step: float) -> float:
        return (values_alone(partial(score, step)) - values_alone(partial(score, -step))) / (2 * step)

    first = difference(h)
    off = abs(first - told)
    scores = scored(forward.values().output.detach()).detach()
    least = 4 * max(c * c, rounding / c) * max(abs(told), abs(first)) + 2 * rounding * float(in_float64(scores.abs()).sum()) / h
    if not off > max(least, _APPROXIMATE * abs(told)):
        return told, None, 1.0
    steady = all(abs(difference(step * h) - first) <= _STEADY * off for step in _STEPS)
    if steady or off <= _BENT[rounding > 1e-10] * abs(told):
        return told, first if steady else None, 1.0
    return told, None, min((1.0, *_FINER), key=lambda factor: abs(difference(factor * h) - told))


def _direction(gradient: Tensor) -> Tensor:
    """Along the gradient, so that nothing cancels, and with something of every other direction. The same whenever it is made."""
    generator = torch.Generator().manual_seed(0)
    weights, noise = (torch.rand(gradient.shape, generator=generator).to(gradient) + 0.5, torch.randn(gradient.shape, generator=generator).to(gradient))
    return gradient * weights + noise * (gradient.norm() / gradient.numel() ** 0.5)


def _text(engine: Named, forward: ForwardPass, key: Key, told: float, differs: float) -> str:
    functions = custom_functions([forward.values().output])
    named = f" It uses the autograd.Function {', '.join(functions)}." if functions else ""
    return (
        f"engine {engine.name!r}: the backward pass of {type(forward.model).__name__} is not the derivative of its forward pass. With respect to wrt={key!r}, "
        f"along one direction, it gives {told:.4g}, and the score changes by {differs:.4g}.{named} A custom autograd.Function or a hook that changes gradients "
        "on purpose does this, and so does an implicit layer whose solution is found under torch.no_grad(), since that counts as a constant; an engine that "
        "displaces the inputs cannot mean it. engine='double_backward' differentiates the backward pass as it is written"
    )
