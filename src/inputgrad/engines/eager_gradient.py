"""The eager step's parameter gradient, in sketches: what a compiled step is compared with, so that the two are not held at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inputgrad.passes.in_chunks import sketch
from inputgrad.passes.precision import LOSS_SCALE, Rows
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.torch_internals.autograd_graph import leaves_of
from inputgrad.torch_internals.gradient_hooks import handed_over, without_gradient_hooks
from inputgrad.tracing.records import StepRequest


def eager_gradients(replay: RandomAndBufferState, request: StepRequest) -> tuple[dict[str, Tensor], int]:
    """Sketches of the eager step's gradients by the parameters' names, and how many leaves the loss reaches that are no parameters."""
    parameters = dict(request.model.named_parameters())
    with replay.run(), torch.enable_grad(), _casts_apart():
        loss, _, _, own = request.step(request.inputs, request.target, request.weights)
        known = own | {id(parameter) for parameter in parameters.values()}
        foreign = sum(id(leaf) not in known for leaf in leaves_of([loss]))
        if foreign:
            return {}, foreign
        sources = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        with without_gradient_hooks(parameters.values()):
            found = _sketches(loss, list(sources.values()), request.model)
    return {name: sketches for name, sketches in zip(sources, found, strict=True) if sketches is not None}, 0


def _sketches(loss: Tensor, sources: list[Tensor], model: nn.Module) -> list[Tensor | None]:
    from inputgrad.tracing.compiled_step import computes_in_float16

    found: list[Tensor | None] = [None for _ in sources]

    def keep(number: int, gradient: Tensor) -> None:
        found[number] = sketch(gradient)

    def taken(scale: float) -> Rows:
        return [torch.autograd.grad(loss, sources, loss.new_full((), scale), retain_graph=True, allow_unused=True)]

    if computes_in_float16(model):  # another scale may be needed, so that all of it is held
        (gradients,) = LOSS_SCALE.unscaled(model, taken)
        return [None if gradient is None else sketch(gradient) for gradient in gradients]
    with handed_over(sources, keep, [loss]):
        torch.autograd.grad(loss, sources, allow_unused=True)
    return found


def relative(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """‖found − expected‖ / ‖expected‖, infinite where other parameters are reached."""
    if found.keys() != expected.keys():
        return float("inf")
    off = sum(float((found[name].double() - gradient.double()).square().sum()) for name, gradient in expected.items())
    size = sum(float(gradient.double().square().sum()) for gradient in expected.values())
    return (off / size) ** 0.5 if size else off**0.5


@contextmanager
def _casts_apart() -> Iterator[None]:
    """As in a trace, each use of a parameter has a cast of its own: the gradients of two passes are then added in the parameter's precision, not in half."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
