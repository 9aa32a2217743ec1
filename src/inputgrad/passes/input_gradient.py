"""The input gradient of a forward pass, by one backward pass for each row of scores. Must not know engines and terms."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.errors import EngineError
from inputgrad.memory import memory
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.outputs import DEPENDS
from inputgrad.passes.precision import INPUT_GRADIENT_SCALE, Rows, is_float16_autocast
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.autograd_graph import is_reentrant, leaves_of
from inputgrad.variables import Key


def input_gradient(
    forward: ForwardPass, score: Callable[[Tensor], Tensor], wrt: tuple[Key, ...], *, create_graph: bool, seed: Tensor | None = None
) -> tuple[Tensor, ...]:
    """g = ∂s/∂z for each variable z, by one backward pass for ``[N]`` scores and K for ``[N, K]``; the forward graph is kept.

    seed: a 0-d one from which the backward pass starts; where it requires grad, an operation that cuts the second derivative cannot hide at the very end
    of the model, where nothing else that arrives there requires grad.
    Raises `ValueError` where the scores do not depend on a variable, and have never done so: a batch without a path, such as isolated atoms, has zeros.
    """
    here = forward.primal()
    variables = [here.variables[key] for key in wrt]
    scores = score(here.output)
    if not scores.requires_grad:
        return _of_constant_scores(forward, score, wrt, scores)
    columns = [scores] if scores.dim() == 1 else list(scores.unbind(1))
    half = is_float16_autocast(scores.device) and all(z.dtype is not torch.float16 for z in variables)

    def taken(scale: float) -> Rows:
        start = seed if scale == 1 else scores.new_full((), scale) if seed is None else seed * scale
        with forward.input_gradient_phase():
            spend = [column is columns[-1] and not half for column in columns]
            return [
                _gradients(forward, column.sum(), variables, start, create_graph=create_graph, last=last) for column, last in zip(columns, spend, strict=True)
            ]

    rows = INPUT_GRADIENT_SCALE.unscaled(forward.model, taken) if half else taken(1)
    _check_dependence(forward, score, wrt, rows)
    filled = [[torch.zeros_like(z) if part is None else part for part, z in zip(row, variables, strict=True)] for row in rows]
    if scores.dim() == 1:
        return tuple(filled[0])
    return tuple(torch.stack(parts, dim=1) for parts in zip(*filled, strict=True))


def _check_dependence(forward: ForwardPass, score: Callable[[Tensor], Tensor], wrt: tuple[Key, ...], rows: Rows) -> None:
    known = memory(forward.model).checked
    for key, *parts in zip(wrt, *rows, strict=True):
        if any(part is not None for part in parts):
            known.update((DEPENDS, _dependence(score, key)))
        elif _dependence(score, key) not in known:
            raise ValueError(
                f"the output does not depend on wrt={key!r}: no path leads from it to the scores. Choose another input "
                "with wrt=, or look for detach, no_grad, argmax or item in the model"
            )


def _dependence(score: Callable[[Tensor], Tensor], key: Key) -> tuple[Any, ...]:
    """The key under which a model is known to depend on a variable, in the sight of a head."""
    head = getattr(score, "head", None)
    return (DEPENDS, key, head.identity() if head is not None else None)


def _of_constant_scores(forward: ForwardPass, score: Callable[[Tensor], Tensor], wrt: tuple[Key, ...], scores: Tensor) -> tuple[Tensor, ...]:
    if all(_dependence(score, key) in memory(forward.model).checked for key in wrt):
        return tuple(_no_gradient(scores, forward.primal().variables[key]) for key in wrt)
    raise ValueError("the head's scores carry no graph: it must be computed from the output that it is given, without detach or no_grad")


def _no_gradient(scores: Tensor, z: Tensor) -> Tensor:
    return torch.zeros_like(z) if scores.dim() == 1 else z.new_zeros(z.shape[0], scores.shape[1], *z.shape[1:])


def nonlinearity(forward: ForwardPass, score: Callable[[Tensor], Tensor], wrt: tuple[Key, ...], gradient: Sequence[Tensor]) -> float:
    """How far three times the seed is from giving three times the gradient: by rounding, large where the gradient is nothing but that; or by design."""
    three = forward.primal().output.new_full((), 3.0)
    tripled = input_gradient(forward, score, wrt, create_graph=False, seed=three)
    lengths = [(float(a.norm()), float((b.detach() / 3 - a).norm())) for a, b in zip([part.detach() for part in gradient], tripled, strict=True)]
    return max((off / length for length, off in lengths if length), default=0.0)


def _gradients(forward: ForwardPass, total: Tensor, variables: list[Tensor], seed: Tensor | None, *, create_graph: bool, last: bool) -> Sequence[Tensor | None]:
    spent = forward.may_free_graph and last and not is_reentrant([total])  # what raises half-way must still be there for the second attempt
    try:
        with forward.placement.unnoticed_backward():
            return torch.autograd.grad(total, variables, seed, retain_graph=not spent, create_graph=create_graph, allow_unused=True)
    except RuntimeError as error:
        if messages.is_machine_error(error):
            raise
        if messages.WRITTEN_OVER.is_in(error) and not create_graph:
            raise ValueError(written_over(type(forward.model).__name__, error)) from error
        if create_graph or not messages.CHECKPOINT.is_in(error):
            raise
        if forward.placement.is_fsdp:
            forward.placement.reset_after_error()
            raise EngineError(
                f"{type(forward.model).__name__} is sharded by fully_shard and checkpoints in the re-entrant way, whose gradients do not come back to the "
                "shares here. Use checkpoint(..., use_reentrant=False)"
            ) from error
        forward.reentrant = True
        return gradients_by_backward(total, variables, forward.model, seed)


def written_over(model: str, error: RuntimeError) -> str:
    """What to say of a model, by this name, whose graph was written over."""
    told = str(error).split(". Hint")[0]
    return (
        f"{model} writes in place on a tensor that its own derivative needs (torch: {told!r}). Replace the operation in place (an "
        "activation with inplace=True, +=, F.embedding(..., max_norm=...) on a weight that is used elsewhere too) by one that makes a new tensor"
    )


def gradients_by_backward(total: Tensor, variables: Sequence[Tensor], model: nn.Module, seed: Tensor | None = None) -> list[Tensor | None]:
    """The gradients by ``.backward()``, all that re-entrant checkpointing allows; what it leaves in the ``.grad`` of other leaves is taken back."""
    touched = {id(leaf): leaf for leaf in (*leaves_of([total]), *model.parameters(), *variables)}  # the region's parameters are not in the graph
    kept = [(leaf, leaf.grad) for leaf in touched.values()]
    for leaf, _ in kept:
        leaf.grad = None
    for variable in variables:
        variable.retain_grad()
    try:
        total.backward(seed, retain_graph=True)
        return [variable.grad for variable in variables]
    finally:
        for leaf, gradient in kept:
            leaf.grad = gradient
