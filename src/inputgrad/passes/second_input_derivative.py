"""Whether a model's second derivative in its inputs is that of its first one, where a custom ``autograd.Function`` may have cut it: by differences.

    vᵀH w  by the graph   =   ⟨v, g(z + hw) − g(z − hw)⟩ / 2h        H = ∂g/∂z, v and w random

What is wrong here is the VALUE of a Laplacian, which agrees with its own parameter gradient. A model whose first derivative is not that of its output changes
gradients on purpose; then nothing is said. Must not know terms and engines.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from inputgrad.devices import joint_length
from inputgrad.errors import EngineError
from inputgrad.memory import memory
from inputgrad.passes.changes import Change, opened
from inputgrad.passes.displaced import input_norm
from inputgrad.passes.forward_pass import ForwardPass, Run
from inputgrad.passes.second_derivative import model_fingerprint
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.autograd_graph import custom_functions
from inputgrad.torch_internals.tracing import is_tracing

SAMPLES = 2
TOLERANCE = {torch.float64: 1e-3, torch.float32: 5e-2}
_KEY = "second derivative in the inputs"
_FINER = 3.0
_CAUSES = (
    "A backward that detaches, runs under torch.no_grad(), leaves torch, or uses an intermediate result that its forward has saved does this: write it in "
    "operations that can be differentiated"
)


def check_second_input_derivative(forward: ForwardPass) -> None:
    """Raises `EngineError` where it is not; once for each form of a model that holds a custom Function."""
    if (known := (_KEY, forward.wrt)) not in forward.proven:
        _check(forward)
        forward.proven.add(known)


def _check(forward: ForwardPass) -> None:
    key, checked = (_KEY, model_fingerprint(forward.model), forward.wrt), memory(forward.model).checked
    if is_tracing() or not forward.placement.local or key in checked:
        return
    output = forward.primal().output
    if (functions := custom_functions([output])) and output.dtype in TOLERANCE:
        few = forward.of_first_samples(SAMPLES)
        try:
            wrong = _misfit(few, TOLERANCE[output.dtype])
        except RuntimeError as error:  # what cannot be differentiated again says so by itself
            if messages.is_machine_error(error):
                raise
            return
        if wrong is not None:
            raise EngineError(
                f"the second derivative of {type(forward.model).__name__} in its inputs is wrong: along one direction it is {wrong[0]:.3g}, and the first one "
                f"changes by {wrong[1]:.3g}. The model uses the autograd.Function {', '.join(functions)}. {_CAUSES}"
            )
    checked.add(key)


def _misfit(forward: ForwardPass, tolerance: float) -> tuple[float, float] | None:
    """vᵀH w and the difference that stands against it; None where they agree, or where nothing can be told."""
    generator = torch.Generator().manual_seed(0)
    here = forward.primal()
    variables = list(here.variables.values())
    weights = _random(here.output, generator)
    v, w = ([_random(z, generator) for z in variables] for _ in range(2))
    score, gradient = _first(here, weights)
    slope, along = float(_product(gradient, w).detach()), _product(gradient, v)
    second = _product(torch.autograd.grad(along, variables, allow_unused=True), w) if along.requires_grad else along.new_zeros(())
    told, rounding = float(second.detach()), torch.finfo(weights.dtype).eps
    h = rounding ** (1 / 3) * (input_norm([z.detach() for z in variables]) or 1.0) / joint_length(w)
    (first, coarse), (_, fine) = (_differences(forward, weights, v, w, step) for step in (h, h / _FINER))
    noise = 30 * rounding * float(sum((a.detach() * b).abs().sum() for a, b in zip(gradient, v, strict=True))) / h
    if abs(first - slope) > tolerance * abs(slope) + 30 * rounding * float(score.detach().abs()) / h:
        return None
    off = abs(told - fine)
    steady = abs(fine - coarse) < 0.3 * off
    return (told, fine) if steady and off > max(tolerance * max(abs(fine), abs(told)), _FINER * noise) else None


def _differences(forward: ForwardPass, weights: Tensor, v: Sequence[Tensor], w: Sequence[Tensor], h: float) -> tuple[float, float]:
    """How the score and ⟨v, g⟩ change along w."""

    def shifted(direction: Tensor, step: float) -> Change:
        return lambda z: opened((z + step * direction).detach())

    found = []
    for step in (h, -h):
        run = forward.run({key: shifted(direction, step) for key, direction in zip(forward.wrt, w, strict=True)})
        score, gradient = _first(run, weights)
        found.append((float(score.detach()), float(_product(gradient, v).detach())))
    (above, more), (below, less) = found
    return (above - below) / (2 * h), (more - less) / (2 * h)


def _first(run: Run, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The weighted sum of the outputs, and its gradient in the variables with its graph."""
    score, variables = (run.output * weights).sum(), list(run.variables.values())
    parts = torch.autograd.grad(score, variables, create_graph=True, allow_unused=True)
    return score, [torch.zeros_like(z) if part is None else part for z, part in zip(variables, parts, strict=True)]


def _product(one: Sequence[Tensor | None], other: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() if a is not None else b.new_zeros(()) for a, b in zip(one, other, strict=True)]).sum()


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
