"""Differential operators of an output that is a function of variables, by autograd. Every result has its complete graph: in parameters and variables.

Knows autograd alone: no model, no batch and no engine. Samples are independent: the derivative of a sum over them is each sample's own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inputgrad.devices import moved_once
from inputgrad.distributed.tensor_parallel import twice_differentiable_from_local
from inputgrad.errors import EngineError
from inputgrad.passes.batched_rows import batched_rows
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import written_over
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.autograd import gradient_from
from inputgrad.torch_internals.autograd_graph import is_fused_attention, is_without_derivative, nodes_of
from inputgrad.variables import Key, described


def gradients(quantity: Tensor, variables: Sequence[Tensor], names: Sequence[object] | None = None) -> tuple[Tensor, ...]:
    """∂ Σ quantity / ∂z for each variable z, with its graph; zeros where the quantity does not depend on it.

    names: of the variables, where the quantity is the output itself: then it is an error that no path leads from a variable to it.
    """
    try:
        with twice_differentiable_from_local():
            start = torch.ones_like(quantity)
            found = gradient_from(quantity, start, variables, create_graph=True) if quantity.requires_grad else (None,) * len(variables)
    except RuntimeError as error:
        if messages.is_machine_error(error):
            raise
        if messages.WRITTEN_OVER.is_in(error):
            raise ValueError(written_over("the model", error)) from error
        raise (_told(error) or error) from error
    for name, part in zip(names or (), found, strict=names is not None):
        if part is None:
            raise ValueError(
                f"the output does not depend on {name!r}: no path leads from it to the output. Choose other inputs with wrt=, "
                "or look for detach, no_grad, argmax or item in the model"
            )
    return tuple(torch.zeros_like(z) if part is None else part for z, part in zip(variables, found, strict=True))


def gradients_of_output(forward: ForwardPass, quantity: Tensor, keys: Sequence[Key], variables: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`gradients` of the whole output of a pass: those that another term has taken of it, where terms share them."""
    known = forward.slopes.of(keys)
    return forward.slopes.keep(keys, gradients(quantity, variables, keys)) if known is None else known


def check_derivatives(quantities: Sequence[Tensor]) -> None:
    """Raises `EngineError` where the graph holds an operation without a further derivative, so that it is said here and not in ``loss.backward()``."""
    nodes = nodes_of(quantities)
    if any(map(is_without_derivative, nodes)):
        operation = "scaled_dot_product attention" if any(map(is_fused_attention, nodes)) else "an operation"
        raise _told(RuntimeError(f"the derivative of {operation} is not implemented")) or RuntimeError("not implemented")


def rows(output: Tensor) -> list[Tensor]:
    """Each output of a sample by itself, ``[N]``."""
    return [output] if output.dim() == 1 else list(output.flatten(1).unbind(1))


def jacobian(output: Tensor, variable: Tensor, name: object) -> Tensor:
    """∂f_c/∂x ``[N, C, *input]``: one batched backward pass where the graph admits it, else C."""
    batched = batched_rows(output.flatten(1), [variable], create_graph=True) if output.requires_grad and output.dim() > 1 else None
    if batched is not None and batched[0] is not None:
        return batched[0].movedim(0, 1)
    return torch.stack([gradients(row, [variable], [name])[0] for row in rows(output)], 1)


def divergence(output: Tensor, variable: Tensor, name: object, probes: Sequence[Tensor] | None) -> Tensor:
    """Σ_d ∂f_d/∂x_d ``[N]``: exact by D backward passes, or the mean of vᵀ(∂f/∂x)v over the probes v, a backward pass each."""
    check_same_shape(output, variable)
    if probes is not None:
        return _mean([_along(gradients(_along(output, v), [variable], [name])[0], v) for v in probes])
    return _sum([_flat(gradients(row, [variable], [name])[0])[:, d] for d, row in enumerate(rows(output))])


def check_same_shape(output: Tensor, variable: Tensor) -> None:
    """Raises `ValueError` for a field that has not the shape of its variable."""
    if output.shape != variable.shape:
        raise ValueError(
            f"divergence needs as many outputs as inputs: the output has shape {list(output.shape)}, the input {list(variable.shape)}. "
            "What else the field depends on, such as a time, the model takes as another input: wrt= names the one that counts"
        )


def laplacian(output: Tensor, variables: Sequence[Tensor], names: Sequence[object], probes: Sequence[Sequence[Tensor]] | None) -> Tensor:
    """Σ_d ∂²f_c/∂x_d² of the output's shape: exact by 1 + D backward passes an output, or the mean of vᵀHv over n probes v by 1 + n."""
    found = [_trace_of_hessian(row, variables, names, probes) for row in rows(output)]
    return torch.stack(found, -1).reshape(output.shape)


def _trace_of_hessian(row: Tensor, variables: Sequence[Tensor], names: Sequence[object], probes: Sequence[Sequence[Tensor]] | None) -> Tensor:
    first = gradients(row, variables, names)
    if probes is not None:
        return _mean([_sum(list(map(_along, along(first, variables, v), v))) for v in probes])
    columns = [(z, d, column) for z, gradient in zip(variables, first, strict=True) for d, column in enumerate(_flat(gradient).unbind(1))]
    return _sum([_flat(gradients(column, [z])[0])[:, d] for z, d, column in columns])


def along(first: Sequence[Tensor], variables: Sequence[Tensor], vectors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """H v, of the variables' shapes, from the gradient ``first`` of a score with respect to them: one more backward pass."""
    return gradients(_sum(list(map(_along, first, vectors))), variables)


def _along(a: Tensor, b: Tensor) -> Tensor:
    return (_flat(a) * _flat(b)).sum(1)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(len(tensor), -1)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).mean(0)


def _told(error: RuntimeError) -> EngineError | None:
    """What torch cannot differentiate again, and the way out."""
    way = messages.way_to_further_derivatives(error)
    if way is None:
        return None
    return EngineError(f"this model has no second derivative with respect to the input (torch: {str(error).splitlines()[0]!r}). {way}")


def vectors(given: Any, variables: Sequence[Tensor]) -> list[Tensor]:
    """The directions, one for each variable, of its shape. Raises `ValueError` for others."""
    if not isinstance(given, (tuple, list)) or len(given) != len(variables):
        raise ValueError(f"vector must hold one tensor for each of the {len(variables)} inputs that wrt names, got {described(given)}")
    for v, z in zip(given, variables, strict=True):
        if not isinstance(v, Tensor) or v.shape not in (z.shape, z.shape[1:]):
            raise ValueError(f"vector must be of the input's shape {list(z.shape)}, or of one sample's {list(z.shape[1:])}; got {described(v)}")
    return [moved_once(v, z.device, z.dtype).expand_as(z) for v, z in zip(given, variables, strict=True)]
