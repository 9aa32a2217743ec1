"""Paths: inputs moved along their input gradient, step by step; detached."""

from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import heads
from inputgrad.errors import LOSS_AS_SCORE, suggesting
from inputgrad.heads import Of
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.model_checks import check_model, without_inference_tensors
from inputgrad.passes.output_views import scored
from inputgrad.passes.outputs import default_output
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.perturbations.base import Bounds, Move, Scaling, check_bounds, check_move, check_scaling, moved
from inputgrad.variables import Key, ModelInputs, canonical


@suggesting
def follow_gradient(
    model: nn.Module,
    inputs: Any,
    *,
    of: Of = "output",
    target: Any = None,
    wrt: Key = 0,
    steps: int = 10,
    step_size: float = 0.1,
    move: Move = "ascend",
    scaling: Scaling = "unit",
    bounds: Bounds = None,
) -> Tensor:
    """Move inputs along their input gradient and return the whole path ``[steps + 1, N, *input]``, the inputs themselves first; detached.

        x_{t+1} = clip(x_t ± step_size · d_t),   d_t = g/‖g‖₂ per sample ("unit"), sign(g) ("sign") or g itself ("none"),   g = ∂s/∂x at x_t

    model, inputs, of, target: as in `output_and_gradient`. wrt: the input that moves.
    steps: how many. step_size: the length of a step, in units of the input. move: "ascend" the score, or "descend" it.
    scaling: of the gradient, "unit", "sign" or "none" as in the formula, or "max", g/‖g‖∞ per sample.
    bounds: (low, high) to which the inputs are clipped, such as (0, 1) for images; None for no bounds.

    A sample whose gradient is zero stays where it is. The model runs in its current mode; its parameters' ``.grad``, its buffers and the random state do not
    change.
    """
    _check_steps(steps, step_size)
    check_move(move)
    check_scaling(scaling)
    check_bounds(bounds)
    check_model(model)
    if isinstance(of, str) and of == "loss":
        raise ValueError('of="loss" needs a base loss: ' + LOSS_AS_SCORE)
    with torch.inference_mode(False), torch.enable_grad():
        given, target = ModelInputs.of(without_inference_tensors(inputs)), without_inference_tensors(target)
        key = _input_key(wrt, given, model)
        replay = RandomAndBufferState(model, given)
        replay.remember()
        path = [given.variable(key).detach().clone()]
        for _ in range(steps):
            forward = ForwardPass(model, given.replaced({key: path[-1]}), (key,), default_output, replay)
            (gradient,) = input_gradient(*scored(forward, heads.resolve(of), target), (key,), create_graph=False)
            path.append(moved(path[-1], gradient.detach(), step_size, move=move, scaling=scaling, bounds=bounds))
        return torch.stack(path)


def _input_key(wrt: Key, given: ModelInputs, model: nn.Module) -> Key:
    (key,) = canonical(wrt, given, model)
    if isinstance(key, str) and key.startswith("module:"):
        raise ValueError(f"follow_gradient moves inputs, and wrt={wrt!r} names the output of an inner module: give a position or a name of an input")
    return key


def _check_steps(steps: int, step_size: float) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number, at least 1; got {steps!r}")
    if not 0 < step_size < float("inf"):
        raise ValueError(f'step_size must be positive and finite, got {step_size!r}; for the other direction use move="descend"')
